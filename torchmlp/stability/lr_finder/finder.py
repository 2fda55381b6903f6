"""The learning rate for a run: a sweep over all rates, and runs that confirm what it shows."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from torchmlp.diagnosis.record.record import plain
from torchmlp.diagnosis.run.batches import read_batches
from torchmlp.diagnosis.run.run import CannotDiagnoseError, TrainingRun
from torchmlp.diagnosis.run.snapshot import examined, restored_afterwards
from torchmlp.stability.lr_finder.search import FACTOR, RateSteps
from torchmlp.stability.lr_finder.trial_runs import RateRuns

SMOOTHING = 0.9  # of the sweep's losses; Smith (2017) and fastai: .98 for some 1000 steps
LEFT = 4.0  # times its least, that a sweep's loss has left for good: fastai's lr_find
LEAST_STEPS = 10


@dataclass(frozen=True)
class RateRun:
    """A short run at a constant rate.

    Attributes:
        rate: learning rate η, of the optimizer's first parameter group.
        loss: of the run's first samples after its last step; nan where it broke.
        stable: whether it trains.
        broke: the first value that was not finite, in words; "" where all were.
    """

    rate: float
    loss: float
    stable: bool
    broke: str


@dataclass(frozen=True)
class RateSearch:
    """What a search for the learning rate has found.

    Attributes:
        low, high: rates it was for.
        steps: of the sweep, and of every run.
        start: loss before the first step, on the samples that the runs end with.
        rates, losses: the sweep's, step by step, up to where it broke.
        broke: rate at which the sweep's loss was not finite, or left its least for good; None
            where it did not.
        runs: at constant rates, the smallest first.
        suggested: the rate to use; None where no run trains.
        largest: the largest stable rate; None where no run trains.
        reason: why there is none; "" where there is.
    """

    low: float
    high: float
    steps: int
    start: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    broke: float | None
    runs: tuple[RateRun, ...]
    suggested: float | None
    largest: float | None
    reason: str

    def to_json(self) -> str:
        """All of it as JSON; nan and the infinities as "nan", "inf", "-inf"."""
        return json.dumps(plain(asdict(self)), ensure_ascii=False)

    def __str__(self) -> str:
        if self.largest is None or self.suggested is None:
            return f"no stable rate below {self.high:.3g}: {self.reason}"
        above = [run for run in self.runs if run.rate > self.largest]
        limit = f"largest stable rate {self.largest:.3g}"
        if not above:
            limit += ", the highest tried"
        elif above[0].broke:
            limit += f"; at {above[0].rate:.3g} {above[0].broke}"
        else:
            limit += f"; at {above[0].rate:.3g} the loss ends at {above[0].loss:.3g}"
        ends = next(run.loss for run in self.runs if run.rate == self.suggested)
        return (
            f"suggested rate {self.suggested:.3g}: in {self.steps} steps the loss falls from "
            f"{self.start:.3g} to {ends:.3g}\n{limit}"
        )


def find_learning_rate(
    model: nn.Module,
    loss: str | Callable[[Any, Any], Any],
    optimizer: Optimizer,
    data: Any,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int | None = None,
) -> RateSearch:
    """The rate to train with and the largest stable one, each confirmed by a run of its own.

    First a sweep: the rate grows at every step, from `low` to `high`. Then runs of `steps` steps at
    constant rates, all from the same start on the same batches: from where the sweep broke
    downwards until a smaller rate is slow, upwards until one is not stable, and between the two
    until they are 1.5 apart. A run is stable where every value stays finite, its outputs tell its
    samples apart, and its loss falls by at least 0.6 of what the best run's does. The rate
    suggested is the best run's.

    Nothing of it is left in the model, the optimizer or the generators. A loss that is nan, at the
    start or at every rate, is a result and not an error: `largest` is None and `reason` says why.

    Args:
        model: any module.
        loss: (output, target) -> scalar, or the name of one of this package's.
        optimizer: any of torch's, over the model's parameters. Groups keep their ratio to the
            first one's rate, and the rates found are that one's.
        data: (inputs, targets), a Dataset, a DataLoader or a list of batches, as `diagnose`
            takes them.
        low: smallest rate, above 0.
        high: largest rate.
        steps: of the sweep and of each run, at least 10.
        batch_size: of inputs and targets, or of a Dataset; None takes 32.

    Raises:
        ValueError: rates or steps out of range, or what `diagnose` refuses.

    Cost: the sweep, and some eight runs; 15 where none trains.
    Source: Smith (2017), Cyclical Learning Rates, section 3.3, for the sweep. The rate at which it
    falls most steeply is not what is suggested: on digits (widths 32 to 512, ReLU and logistic,
    B 8 and 64) runs of 1000 steps reach .18 less with it than with the best rate, on average, and
    .007 less with the best run's. The largest rate is within a factor of 3 of that of runs of 200
    steps (tests/stability/lr_finder/test_finder.py).

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(400, 2)
        >>> model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> found = find_learning_rate(model, "cross_entropy", sgd, (x, (x.prod(1) > 0).long()))
        >>> 0.1 < found.suggested <= found.largest < 10
        True
    """
    _check(low, high, steps)
    with restored_afterwards(model, optimizer):  # reading the data may draw random numbers
        model.train()  # the rate is one to train with
        run = TrainingRun(model, loss, optimizer, read_batches(data, batch_size, steps))
        name = loss if isinstance(loss, str) else None
        return find_for(run, low=low, high=high, steps=steps, loss=name)


def find_for(
    run: TrainingRun,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    loss: str | None = None,
) -> RateSearch:
    """`find_learning_rate` for a run that stands ready; a schedule of its own is left out.

    Args:
        run: the run.
        low: as there.
        high: as there.
        steps: as there.
        loss: its name, where it has one: an MLP then trains without autograd.

    Raises:
        ValueError: as there.
    """
    _check(low, high, steps)
    with examined(run) as start:
        return _found(RateRuns(run, start, steps, loss), low, high)


def _found(runs: RateRuns, low: float, high: float) -> RateSearch:
    rates = _geometric(low, high, runs.steps)
    losses, sick = runs.losses(lambda step: rates[step])
    left = _left(losses)
    if left is None and sick:
        left = len(losses) - 1
    search = RateSteps(runs, _geometric(low, high, max(round(math.log(high / low, FACTOR)), 1) + 1))
    if math.isfinite(runs.at_start):
        search.confirm(high if left is None else rates[left])
        reason = "" if search.stable() else search.reason()
    else:
        reason = f"at every rate {sick or 'the loss is not finite at the start'}"
    seen = len(losses) if left is None else left + 1
    return RateSearch(
        low=low,
        high=high,
        steps=runs.steps,
        start=runs.at_start,
        rates=tuple(rates[:seen]),
        losses=tuple(losses[:seen]),
        broke=None if left is None else rates[left],
        runs=tuple(
            RateRun(rate, end.loss, rate in search.stable(), end.broke)
            for rate, end in sorted(search.ends.items())
        ),
        suggested=search.best(),
        largest=search.edge()[0] if search.stable() else None,
        reason=reason,
    )


def _check(low: float, high: float, steps: int) -> None:
    if not 0 < low < high < math.inf:
        raise CannotDiagnoseError(f"expected rates 0 < low < high, got low={low}, high={high}")
    if steps < LEAST_STEPS:
        raise CannotDiagnoseError(f"steps: expected at least {LEAST_STEPS}, got {steps}")


def _geometric(low: float, high: float, count: int) -> list[float]:
    return [low * (high / low) ** (k / (count - 1)) for k in range(count)]


def _left(losses: Sequence[float]) -> int | None:
    """The step at which the smoothed losses leave their least for good, or are not finite."""
    mean, least = 0.0, math.inf
    for k, loss in enumerate(losses):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smooth = mean / (1 - SMOOTHING ** (k + 1))
        least = min(least, smooth)
        if not smooth <= least + (LEFT - 1) * abs(least):
            return k
    return None
