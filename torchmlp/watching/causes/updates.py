"""Steps that become too small, and weights that decay faster than they learn."""

import math
from collections import deque
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.watching.causes.rule import Rule, Stage, quoted
from torchmlp.watching.seen.loop import Backward, Loop, SeenOptimizer
from torchmlp.watching.seen.sites import Site

EMPTY, LEVEL = 0.25, 0.7  # of the first norm; of the gradient, at which decay empties weights
SAMPLED = 10  # steps between two looks, after the first ones


class RateDecayed(Rule):
    """A schedule that is meant for epochs is stepped with every batch."""

    cause = "rate-decayed"
    stage = Stage.SCHEDULE
    GONE = 0.01  # of the first rate: a hundredth learns a hundredth as fast
    EARLY = 0.5  # of the run; a rate that small is usual at its end
    PER_EPOCH = frozenset(
        {"StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "MultiplicativeLR"}
        | {"PolynomialLR", "LinearLR", "ConstantLR", "LambdaLR", "ReduceLROnPlateau"}
    )

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        # By scheduler: (name, line, its steps, steps of the loop when it began, first rate)
        self.seen: dict[int, list[Any]] = {}
        self.loaders = 0

    def loader_started(self, _loader: Any, _site: Site | None) -> None:
        self.loaders += 1

    def scheduler_stepped(self, scheduler: Any, site: Site | None) -> None:
        entry = self.seen.setdefault(
            id(scheduler),
            [type(scheduler).__name__, site, 0, self.loop.steps, scheduler, 0, None],
        )
        entry[1] = site
        entry[2] += 1
        optimizer = getattr(scheduler, "optimizer", None)
        rate = float(optimizer.param_groups[0]["lr"]) if optimizer is not None else math.nan
        if entry[6] is None:
            first = getattr(scheduler, "base_lrs", [rate])[0]
            entry[6] = max(float(first), rate)
        if not entry[5] and rate <= self.GONE * entry[6]:
            entry[5] = self.loop.steps

    def found(self) -> Finding | None:
        for name, site, calls, start, scheduler, gone, first in self.seen.values():
            steps = self.loop.steps - start + 1
            per_step = calls / max(steps, 1)
            if name not in self.PER_EPOCH or per_step < 0.5 or steps < 2 * SAMPLED:  # noqa: PLR2004  of the steps
                continue
            optimizer = scheduler.optimizer
            rate = float(optimizer.param_groups[0]["lr"])
            evidence = {"lr at first": first, "lr at the end": rate, "schedule's steps": calls}
            after = self.loop.steps - gone
            if gone and after > self.EARLY * steps and rate <= self.GONE * first:
                said = (
                    f"{quoted(site)}, is called with every batch: {name} has taken the learning "
                    f"rate from {first:.3g} to {rate:.3g}, below a hundredth of it from step "
                    f"{gone} on, and {after} of {steps} steps have changed next to nothing."
                )
            elif name == "CosineAnnealingLR" and calls > 2 * scheduler.T_max:
                turns = calls // (2 * scheduler.T_max)
                said = (
                    f"{quoted(site)}, is called with every batch, {calls} times, and the schedule "
                    f"is {scheduler.T_max} long: the rate goes up and down {turns} times."
                )
            else:
                continue
            return self.finding(
                site,
                said,
                "step the schedule once an epoch, out of the loop over the batches, or count its "
                "length in batches",
                evidence,
                quantity="lr",
                step=gone or start,
            )
        return None


class _Sampled(Rule):
    """Looks at a step now and then."""

    def is_due(self) -> bool:
        steps = self.loop.steps
        return (
            steps < 2 * SAMPLED
            or (self.loop.is_close and steps % SAMPLED == 0)
            or (steps % (10 * SAMPLED) == 0)
        )


def _norm(tensors: list[Tensor]) -> float:
    return math.sqrt(
        sum(float(t.detach().double().square().sum()) for t in tensors if not t.is_sparse)
    )


class ClippedAway(_Sampled):
    """Clipping leaves so little of the gradients that nothing moves."""

    cause = "clipped-away"
    stage = Stage.UPDATE
    only_close = frozenset({"backward_ended", "clipped", "step_started"})
    LEFT = 0.05  # of the gradient's norm, in nearly every step
    MOVED = 1e-4  # of the weights' norm in a step; ten thousand steps would change them once
    SCALE_FREE = frozenset(
        {
            "Adam",
            "AdamW",
            "RMSprop",
            "Adagrad",
            "NAdam",
            "RAdam",
            "Adamax",
            "Rprop",
            "LBFGS",
            "Adadelta",
        }
    )

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.parameters: list[Tensor] = []
        self.ratios: list[float] = []
        self.moves: list[float] = []
        self.limit = math.nan
        self.site: Site | None = None
        self.made = 0.0

    def backward_ended(self, backward: Backward) -> None:
        self.made = 0.0
        if not self.is_due() or backward.graph is None or not backward.accumulates:
            return
        self.parameters = [p for p in backward.graph.leaves.values() if p.grad is not None]
        self.made = _norm([p.grad for p in self.parameters if p.grad is not None])

    def clipped(self, limit: Any, site: Site | None) -> None:
        self.limit, self.site = float(limit), site

    def step_started(self, seen: SeenOptimizer, optimizer: Optimizer) -> None:
        if not self.made or seen.start[0] in self.SCALE_FREE or self.site is None:
            return
        own = {id(p) for p in seen.parameters}
        if not all(id(p) in own for p in self.parameters):
            return
        left = _norm([p.grad for p in self.parameters if p.grad is not None])
        weights = _norm(self.parameters)
        group = optimizer.param_groups[0]
        rate = float(group["lr"]) / (1 - float(group.get("momentum", 0) or 0))
        self.ratios.append(left / self.made)
        self.moves.append(rate * left / weights if weights else math.inf)
        self.made = 0.0

    def found(self) -> Finding | None:
        if len(self.ratios) < SAMPLED:
            return None
        small = sum(r < self.LEFT for r in self.ratios) / len(self.ratios)
        moved = sorted(self.moves)[len(self.moves) // 2]
        ratio = sorted(self.ratios)[len(self.ratios) // 2]
        if small < 0.9 or moved > self.MOVED:  # noqa: PLR2004  nearly every step
            return None
        return self.finding(
            self.site,
            f"{quoted(self.site)}, leaves {ratio:.2g} of the gradient: a step moves the weights "
            f"by {moved:.1e} of their size, and it would take {1 / moved:,.0f} steps to change "
            f"them by as much as they are.",
            f"clip at the size that gradients have when all is well ({self.limit / ratio:.2g} "
            f"here), not at {self.limit:g}, or raise the learning rate",
            {"left of the gradient": ratio, "moved in a step": moved, "limit": self.limit},
        )


class DecayDominates(_Sampled):
    """Weight decay pulls harder than the gradient."""

    cause = "decay-dominates"
    stage = Stage.UPDATE
    STRONGER = 3.0  # times the gradient; where weights have settled, both are equal
    SHRUNK = 0.5  # of the weights' norm at the start

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.ratios: dict[SeenOptimizer, deque[float]] = {}
        self.norms: dict[SeenOptimizer, list[float]] = {}
        self.decay: dict[SeenOptimizer, float] = {}

    def step_started(self, seen: SeenOptimizer, optimizer: Optimizer) -> None:
        if not self.is_due():
            return
        group = max(optimizer.param_groups, key=lambda g: float(g.get("weight_decay", 0) or 0))
        decay = float(group.get("weight_decay", 0) or 0)
        weights = [p for p in group["params"] if p.grad is not None and p.ndim > 1]
        if not decay or not weights:
            return
        norm = _norm(weights)
        decoupled = type(optimizer).__name__ == "AdamW" or group.get("decoupled_weight_decay")
        # Adam's step has about one unit for each weight, whatever the gradient.
        count = sum(p.numel() for p in weights)
        pull = math.sqrt(count) if decoupled else _norm([p.grad for p in weights])
        ratios = self.ratios.setdefault(seen, deque(maxlen=50))
        ratios.append(decay * norm / pull if pull else math.inf)
        self.norms.setdefault(seen, []).append(norm)
        self.decay[seen] = decay

    def found(self) -> Finding | None:
        for seen, norms in self.norms.items():
            shrunk = norms[-1] / norms[0] if norms[0] else 1.0
            early = list(self.ratios[seen])
            strong = sorted(early)[len(early) // 2]
            most = max(early)
            if len(norms) < SAMPLED or shrunk > self.SHRUNK:
                continue
            # Weights that decay has emptied have nothing left to decay: then the start tells.
            is_empty = shrunk < EMPTY and (strong >= LEVEL or most >= self.STRONGER)
            if strong < self.STRONGER and not is_empty:
                continue
            return self.finding(
                seen.made,
                f"weight decay of {self.decay[seen]:g} pulls the weights {most:.3g} times as hard "
                f"as the gradient ({quoted(seen.made, 'the optimizer')}): their norm went from "
                f"{norms[0]:.3g} to {norms[-1]:.3g}.",
                f"a smaller decay, such as weight_decay={_rounded(self.decay[seen] / (10 * most))}",
                {
                    "decay": self.decay[seen],
                    "decay to gradient": most,
                    "norm at the start": norms[0],
                    "norm at the end": norms[-1],
                },
                quantity="weight",
            )
        return None


def _rounded(value: float) -> str:
    return f"{10 ** math.floor(math.log10(min(max(value, 1e-6), 1e-2))):g}"
