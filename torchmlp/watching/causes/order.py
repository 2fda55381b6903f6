"""Mistakes in the order of backward, step and zero_grad."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from torchmlp._compat.torch_internals import version_of
from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.watching.causes.rule import Rule, Stage, has_values, owner_of, quoted, source_of
from torchmlp.watching.seen.loop import Backward, Loop, SeenOptimizer
from torchmlp.watching.seen.sites import Site

LOOKED_AT = 12  # parameters of each optimizer
REPEATED = 3  # a mistake of a loop is made in every turn; once or twice may be meant


@dataclass
class Turns:
    """What one optimizer's gradients went through.

    Attributes:
        steps: steps that were looked at.
        empty: of those, the ones that found no gradient.
        fed: backward passes that left a gradient on its parameters.
        fed_between: steps without a gradient between which there was such a backward pass.
        kept: steps whose gradient holds that of the step before.
        left: the parameters, and their gradients' versions as the last step left them.
        held: of those, the ones whose gradient was still there when the next was made.
        cleared: where they were cleared last.
        fed_at: where the last backward pass that fed them was.
        is_fed: whether one has fed them since the last step.
        first_kept: the step at which gradients were first kept.
    """

    steps: int = 0
    empty: int = 0
    fed: int = 0
    fed_between: int = 0
    kept: int = 0
    left: list[tuple[Tensor, int]] = field(default_factory=list)
    held: list[tuple[Tensor, int]] = field(default_factory=list)
    cleared: Site | None = None
    fed_at: Site | None = None
    is_fed: bool = False
    first_kept: int = 0
    backwards: int = 0  # at the start of the step that is being taken


def _sample(seen: SeenOptimizer) -> list[Tensor]:
    parameters = [p for p in seen.parameters if p.requires_grad]
    return parameters[:: max(len(parameters) // LOOKED_AT, 1)]


class Orders:
    """Follows each optimizer's gradients for the causes below, which read what it has seen."""

    only_close = frozenset(
        {"backward_ended", "backward_started", "gradients_cleared", "step_ended", "step_started"}
    )

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.turns: dict[SeenOptimizer, Turns] = {}

    def of(self, seen: SeenOptimizer) -> Turns:
        """The turns of an optimizer, which may be met for the first time."""
        return self.turns.setdefault(seen, Turns())

    def optimizer_made(self, seen: SeenOptimizer) -> None:
        self.of(seen)

    def backward_started(self, backward: Backward) -> None:
        if not backward.accumulates or not self.loop.is_close:
            return
        for seen, turns in self.turns.items():
            if not turns.left or seen.ref() is None:
                continue
            before = {id(p) for p, _ in turns.held}  # an earlier backward pass of this step
            turns.held = [
                (p, version)
                for p, version in turns.left
                if has_values(p.grad) and (id(p) in before or version_of(p.grad) == version)  # type: ignore[arg-type]  # it has values
            ]

    def backward_ended(self, backward: Backward) -> None:
        if not backward.accumulates or not self.loop.is_close:
            return
        leaves = backward.graph.leaves if backward.graph and backward.graph.is_whole else None
        for seen, turns in self.turns.items():
            if seen.ref() is None:
                continue
            if leaves is None:
                fed = any(p.grad is not None for p in _sample(seen))
            else:
                fed = any(id(p) in leaves for p in seen.parameters)
            if fed:
                turns.fed += 1
                turns.is_fed, turns.fed_at = True, backward.site

    def gradients_cleared(self, owner: Any, site: Site | None) -> None:
        for seen, turns in self.turns.items():
            if seen.ref() is owner or not isinstance(owner, Optimizer):
                turns.cleared = site

    def step_started(self, seen: SeenOptimizer, _optimizer: Optimizer) -> None:
        turns = self.of(seen)
        turns.backwards = self.loop.backwards

    def step_ended(self, seen: SeenOptimizer, _optimizer: Optimizer) -> None:
        turns = self.of(seen)
        if not self.loop.is_close:
            return
        sample = _sample(seen)
        turns.steps += 1
        if turns.backwards == self.loop.backwards:  # no closure has made the gradients
            if not any(has_values(p.grad) for p in sample):
                turns.empty += 1
                turns.fed_between += turns.is_fed
            elif any(p.grad is not None and version_of(p.grad) > v for p, v in turns.held):
                turns.first_kept = turns.first_kept or self.loop.steps
                turns.kept += 1
        turns.is_fed, turns.held = False, []
        turns.left = [(p, version_of(p.grad)) for p in sample if p.grad is not None]


class _OfOrders(Rule):
    """A cause that reads what was seen of the optimizers' gradients."""

    def __init__(self, loop: Loop, orders: Orders) -> None:
        super().__init__(loop)
        self.orders = orders


class GradientsNotCleared(_OfOrders):
    """Each backward pass adds to the gradients that the last step has already used."""

    cause = "gradients-not-cleared"
    stage = Stage.BACKWARD

    def found(self) -> Finding | None:
        for seen, turns in self.orders.turns.items():
            # Accumulation on purpose clears after its step, so that no step is a kept one.
            if turns.kept < REPEATED or turns.kept < (turns.steps - 1) / 2:
                continue
            optimizer = owner_of(seen.stepped, "step", "optimizer")
            site = turns.fed_at
            never = turns.cleared is None
            return self.finding(
                site,
                f"{turns.kept} of the first {turns.steps} steps used the gradients of the steps "
                f"before them too: they are {'never' if never else 'not'} cleared between "
                f"{quoted(seen.stepped, 'the step')} and {quoted(site, 'the backward pass')}.",
                f"write {optimizer}.zero_grad() before {quoted(site, 'the backward pass')}",
                {"steps": turns.steps, "with old gradients": turns.kept},
                step=turns.first_kept,
            )
        return None


class ClearedBeforeStep(_OfOrders):
    """The gradients are cleared between backward and step: no step ever has one."""

    cause = "cleared-before-step"
    stage = Stage.UPDATE
    explains = ("no-backward",)

    def found(self) -> Finding | None:
        for seen, turns in self.orders.turns.items():
            if not _never_sees_gradients(turns) or _steps_first(seen, turns):
                continue
            optimizer = owner_of(seen.stepped, "step", "optimizer")
            return self.finding(
                turns.cleared,
                f"{quoted(turns.cleared, 'zero_grad')}, clears the gradients that "
                f"{quoted(turns.fed_at, 'the backward pass')}, has just made: "
                f"{turns.fed_between} of the first {turns.steps} steps found none.",
                f"clear before the backward pass: {optimizer}.zero_grad(), then loss.backward(), "
                f"then {optimizer}.step()",
                {"steps": turns.steps, "without gradients": turns.empty},
                step=1,
            )
        return None


class StepBeforeBackward(_OfOrders):
    """The step is taken before the backward pass whose gradients it needs."""

    cause = "step-before-backward"
    stage = Stage.UPDATE
    explains = ("no-backward",)

    def found(self) -> Finding | None:
        for seen, turns in self.orders.turns.items():
            if not _never_sees_gradients(turns) or not _steps_first(seen, turns):
                continue
            return self.finding(
                seen.stepped,
                f"{quoted(seen.stepped, 'the step')}, is taken before "
                f"{quoted(turns.fed_at, 'the backward pass')}, and the gradients are cleared "
                f"before the next one: {turns.fed_between} of the first {turns.steps} steps found "
                f"none.",
                f"move {quoted(seen.stepped, 'the step')}, behind "
                f"{quoted(turns.fed_at, 'the backward pass')}",
                {"steps": turns.steps, "without gradients": turns.empty},
                step=1,
            )
        return None


def _never_sees_gradients(turns: Turns) -> bool:
    return turns.fed_between >= REPEATED and turns.empty >= turns.steps - 1


def _steps_first(seen: SeenOptimizer, turns: Turns) -> bool:
    """Whether the step stands before the backward pass in the loop's text."""
    step, backward = seen.stepped, turns.fed_at
    if step is None or backward is None or step.file != backward.file:
        return False
    if step.function != backward.function:
        return turns.cleared is None
    return step.line < backward.line


class NoBackward(_OfOrders):
    """Steps are taken and nobody computes a gradient."""

    cause = "no-backward"
    stage = Stage.BACKWARD
    only_close = frozenset({"model_called"})

    def __init__(self, loop: Loop, orders: Orders) -> None:
        super().__init__(loop, orders)
        self.trained: Site | None = None

    def model_called(self, call: Any) -> None:
        if call.tracks_gradients and not self.loop.backwards:
            self.trained = call.site

    def found(self) -> Finding | None:
        # Steps without a forward pass are somebody's look at a schedule.
        if self.loop.backwards or self.trained is None:
            return None
        for seen, turns in self.orders.turns.items():
            if turns.empty >= REPEATED and turns.empty == turns.steps:
                return self.finding(
                    seen.stepped,
                    f"{seen.steps} steps were taken and no gradient was ever computed: "
                    f"{quoted(seen.stepped, 'the step')}, has nothing to go by.",
                    f"write loss.backward() before {quoted(seen.stepped, 'the step')}",
                    {"steps": seen.steps, "backward passes": 0},
                    step=1,
                )
        return None


class NoOptimizerStep(_OfOrders):
    """Gradients are computed and nothing is ever done with them."""

    cause = "no-optimizer-step"
    stage = Stage.UPDATE
    only_close = frozenset({"backward_started"})
    SURE = 10  # backward passes; fewer are somebody's look at gradients

    def __init__(self, loop: Loop, orders: Orders) -> None:
        super().__init__(loop, orders)
        self.start: dict[int, tuple[Tensor, Tensor]] = {}
        self.site: Site | None = None
        self.fed = 0

    def backward_started(self, backward: Backward) -> None:
        if backward.graph is None or not backward.accumulates:
            return
        for leaf in list(backward.graph.leaves.values())[:LOOKED_AT]:
            if id(leaf) not in self.start and len(self.start) < 10 * LOOKED_AT:
                self.start[id(leaf)] = (leaf, leaf.detach().reshape(-1)[:8].clone())
        self.fed += 1
        self.site = backward.site

    def found(self) -> Finding | None:
        idle = [
            (seen, turns)
            for seen, turns in self.orders.turns.items()
            if not seen.steps and turns.fed >= REPEATED and self.loop.backwards >= self.SURE
        ]
        for seen, turns in idle:
            if self._has_moved(seen.handed):
                continue
            unnamed = source_of(turns.fed_at)
            return self.finding(
                turns.fed_at or seen.made,
                f"{self.loop.backwards} backward passes gave gradients to the parameters of the "
                f"{seen.start[0]} of {quoted(seen.made, 'this run')}, and it has not taken one "
                f"step: the weights are what they were.",
                f"write optimizer.step() after {quoted(turns.fed_at, 'the backward pass')}"
                if unnamed
                else "call optimizer.step() after the backward pass (with its parentheses)",
                {"backward passes": self.loop.backwards, "steps": 0},
                quantity="weight",
                step=0,
            )
        if self.orders.turns or self.fed < self.SURE or self._has_moved(None):
            return None
        return self.finding(
            self.site,
            f"{self.fed} backward passes gave gradients and no optimizer was made: the weights "
            f"are what they were.",
            "make an optimizer before the loop, optimizer = torch.optim.SGD(model.parameters(), "
            f"lr=0.1), and write optimizer.step() after {quoted(self.site, 'the backward pass')}",
            {"backward passes": self.fed, "steps": 0},
            quantity="weight",
            certain=False,
        )

    def _has_moved(self, of: frozenset[int] | None) -> bool:
        return any(
            not bool((leaf.detach().reshape(-1)[:8] == start).all())
            for leaf, start in self.start.values()
            if of is None or id(leaf) in of
        )
