"""What training had reached is thrown away: weights are drawn again, or an optimizer made anew."""

import weakref
from collections import Counter

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.watching.causes.rule import Rule, Stage, describe, owner_of, quoted
from torchmlp.watching.seen.loop import Backward, Call, Loop, SeenOptimizer
from torchmlp.watching.seen.sites import Site

MODELS, ROWS, FEATURES = 8, 5000, 1000  # that are looked at
REPEATED = 3  # a reset or two can be meant: a new head, a restart


class WeightsReset(Rule):
    """Weights that have been trained are drawn again, again and again."""

    cause = "weights-reset"
    stage = Stage.UPDATE
    explains = ("optimizer-recreated",)
    only_close = frozenset({"step_ended"})

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.stepped: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
        self.reset: Counter[Site] = Counter()
        self.last_step = -1
        # Models in the order they were first trained: (class, line, seeds before it, settings).
        self.models: list[tuple[str, Site, int, str]] = []
        self.starts: list[tuple[int, int]] = []  # backward passes, batches seen before
        self.known: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self.seeds = 0
        self.step = 0
        self.rows: set[float] = set()
        self.again = 0

    def seeded(self, _seed: str, _site: Site | None) -> None:
        self.seeds += 1

    def step_ended(self, seen: SeenOptimizer, _optimizer: Optimizer) -> None:
        if seen.steps <= 1:
            for parameter in seen.parameters:
                self.stepped[id(parameter)] = parameter

    def initialized(self, tensor: Tensor, site: Site | None) -> None:
        if site is None or self.stepped.get(id(tensor)) is not tensor:
            return
        if self.loop.steps != self.last_step:  # one reset draws many tensors
            self.reset[site] += 1
            self.last_step = self.loop.steps
            self.step = self.step or self.loop.steps

    def model_called(self, call: Call) -> None:
        module = call.module
        if not call.tracks_gradients or not module.training:
            return
        if module in self.known:
            return
        self.known.add(module)
        site = self.loop.made(module)[0]
        if site is None or next(module.parameters(), None) is None:
            return
        shapes = str([tuple(p.shape) for p in module.parameters()])
        self.models.append((describe(module), site, self.seeds, shapes))
        self.starts.append((self.loop.backwards, self.again))
        self.rows.clear()

    def backward_started(self, backward: Backward) -> None:
        if len(self.models) > MODELS or len(self.rows) > ROWS:
            return
        for call in backward.calls[-1:]:
            if call.module in self.known:
                self._look_at_rows(call)

    def _look_at_rows(self, call: Call) -> None:
        """Count the samples that the present model has seen before."""
        x = next((a for a in call.args if isinstance(a, Tensor) and a.ndim), None)
        if x is None or not x.numel():
            return
        with torch.no_grad():
            flat = x.detach().reshape(len(x), -1)[:, :FEATURES].double().cpu()
            weights = torch.arange(1, flat.shape[1] + 1, dtype=torch.float64).sin()
            seen = set((flat @ weights).tolist())
        self.again += len(seen & self.rows) > len(seen) / 2
        self.rows |= seen

    def found(self) -> Finding | None:
        for site, times in self.reset.items():
            if times >= REPEATED:
                return self.finding(
                    site,
                    f"weights that had been trained were drawn again {times} times, by "
                    f"{quoted(site)}: each time training starts from nothing.",
                    f"draw the weights once, before the loop: move {quoted(site)}, out of it",
                    {"times": times, "steps": self.loop.steps},
                    quantity="weight",
                    step=self.step,
                )
        return self._rebuilt()

    def _rebuilt(self) -> Finding | None:
        """The same model, made at the same line, trained for no more than an epoch each time."""
        by_line = Counter((name, site, shapes) for name, site, _, shapes in self.models)
        for (name, site, shapes), times in by_line.items():
            if times < REPEATED:
                continue
            turns = [
                k for k, m in enumerate(self.models) if (m[0], m[1], m[3]) == (name, site, shapes)
            ]
            if len({self.models[k][2] for k in turns}) > 1:
                continue  # seeds between them: several runs on purpose
            ends = [*self.starts[1:], (self.loop.backwards, self.again)]
            steps = [ends[k][0] - self.starts[k][0] for k in turns]
            again = sum(ends[k][1] - self.starts[k][1] for k in turns)
            settings = {str(o.start) for o in self.loop.optimizers}
            # A search trains each model for a while, or with other settings.
            if max(steps) <= 1 or (not again and len(settings) == 1):
                return self.finding(
                    site,
                    f"a new {name} was made {times} times at {quoted(site)}, and trained for "
                    f"{max(steps)} step{'s' * (max(steps) != 1)} at most each time: what the one "
                    f"before had learnt is gone.",
                    f"make the model and its optimizer once, before the loop: move "
                    f"{quoted(site)}, out of it",
                    {"models": times, "steps": self.loop.steps},
                    quantity="weight",
                    step=ends[turns[0]][0],
                    certain=max(steps) <= 1 or times > REPEATED,
                )
        return None


class OptimizerRecreated(Rule):
    """An optimizer with a state is made anew over the same parameters, and its state is lost."""

    cause = "optimizer-recreated"
    stage = Stage.UPDATE

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.made: list[tuple[SeenOptimizer, frozenset[int], int]] = []

    def optimizer_made(self, seen: SeenOptimizer) -> None:
        optimizer = seen.ref()
        if optimizer is None or not _has_state(optimizer):
            return
        self.made.append((seen, seen.handed, self.loop.backwards))

    def found(self) -> Finding | None:
        lines = Counter(
            (seen.made, seen.start[0], str(seen.start[1]), handed)
            for seen, handed, _ in self.made
            if seen.made is not None
        )
        for (site, name, _, handed), times in lines.items():
            turns = [at for seen, own, at in self.made if own == handed and seen.made == site]
            trained = sum(
                b > a for a, b in zip(turns, [*turns[1:], self.loop.backwards], strict=True)
            )
            if times < REPEATED or trained < REPEATED:
                continue
            optimizer = owner_of(self.made[-1][0].stepped, "step", "optimizer")
            return self.finding(
                site,
                f"{name} was made {times} times over the same parameters at {quoted(site)}, "
                f"with {self.loop.steps / times:.3g} steps each: every time its state (momentum, "
                f"averages) starts again from zero.",
                f"make {optimizer} once, before the loop: move {quoted(site)}, out of it",
                {"times": times, "steps": self.loop.steps},
                quantity="weight",
                step=turns[1],
            )
        return None


def _has_state(optimizer: Optimizer) -> bool:
    """Whether it remembers anything from one step to the next."""
    if type(optimizer).__name__ == "SGD":
        return any(group.get("momentum") for group in optimizer.param_groups)
    return type(optimizer).__name__ != "LBFGS"  # started anew for each problem
