"""Short trial runs, each from the same start, at learning rates other than the run's own."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchmlp.autograd.dense import autocast_is_on
from torchmlp.diagnosis.measure.data_statistics import gathered
from torchmlp.diagnosis.measure.nonfinite import locate
from torchmlp.diagnosis.measure.training_loop import all_finite, update
from torchmlp.diagnosis.run.run import USER_ERRORS, Batch, CannotDiagnoseError, TrainingRun
from torchmlp.diagnosis.run.snapshot import Snapshot
from torchmlp.engine import Engine, unsupported_reason
from torchmlp.nn.mlp import MLP

EVALUATED = 500  # samples that a run's end is measured on
UNRELATED = 3.0  # standard deviations, at most 1 / √n, of what dealing out unrelated targets does


class End(NamedTuple):
    """How a run ended.

    Attributes:
        loss: of its first samples, after the last step; nan where it broke.
        dealt: the same with their targets dealt out among them at random.
        tells_apart: whether that is clearly more. To a network that answers every sample alike it
            makes no difference whose target it is given, whatever the loss is: one whose ReLUs
            have died, or that has learned nothing but a mean.
        broke: what was not finite, in words; "" where everything was.
    """

    loss: float
    dealt: float
    tells_apart: bool
    broke: str


class RateRuns:
    """Runs of so many steps, all from one start and on the same batches.

    Args:
        run: its schedule is not looked at. Groups keep their ratio to the first one's rate.
        start: its state before.
        steps: of every run.
        loss: by name, where it is known: an MLP then trains without autograd.

    Raises:
        CannotDiagnoseError: a model or a loss that raises, nothing to train, or an optimizer
            without a learning rate.
    """

    def __init__(
        self, run: TrainingRun, start: Snapshot, steps: int, loss: str | None = None
    ) -> None:
        self.run, self.start, self.steps = run, start, steps
        self.groups = run.optimizer.param_groups
        if any("lr" not in group for group in self.groups):
            name = type(run.optimizer).__name__
            raise CannotDiagnoseError(f"the optimizer, {name}, has no learning rate lr to look for")
        first = float(self.groups[0]["lr"])
        self.ratios = [float(group["lr"]) / first if first > 0 else 1.0 for group in self.groups]
        size = len(run.batches[0][0])
        x, target = gathered(run.batches, max(EVALUATED, size))
        order = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))
        whole = len(x) // size * size  # a BatchNorm takes no lone last sample
        self.inputs, self.targets, self.dealt = (
            torch.split(part[:whole], size) for part in (x, target, target[order.to(target.device)])
        )
        self._begin()
        self._check()
        self.at_start = self._loss(self.targets)
        self.loss = loss
        if isinstance(run.model, MLP) and loss is not None:
            wants_autograd = unsupported_reason(run.model, loss, run.optimizer)
            if wants_autograd or autocast_is_on(x.device.type):
                self.loss = None

    def losses(self, rate: Callable[[int], float]) -> tuple[list[float], str]:
        """A run whose rate is a function of the step, from 0, up to where it breaks.

        Returns:
            The losses, each before its step, and what was not finite, in words.
        """
        run = self.run
        self._begin()
        take = self._step()
        losses: list[float] = []
        for step in range(self.steps):
            for group, ratio in zip(self.groups, self.ratios, strict=True):
                group["lr"] = rate(step) * ratio
            batch, generator = run.batch(step), torch.get_rng_state()
            said = ""
            try:
                loss, is_sick = take(batch)
                losses.append(loss)
            except USER_ERRORS as error:  # a loss that checks its input, and has been handed nan
                losses.append(math.nan)
                is_sick, said = True, f"the loss is refused at step {step}: {error}"
            if is_sick:
                torch.set_rng_state(generator)
                return losses, _words(run, batch, step) or said or f"nan at step {step}"
        return losses, ""

    def end(self, rate: float) -> End:
        """How a run at a constant rate ends."""
        _, broke = self.losses(lambda _step: rate)
        loss = math.nan if broke else self._loss(self.targets)
        if not math.isfinite(loss):
            broke = broke or f"the loss is {loss} after step {self.steps - 1}"
            return End(math.nan, math.nan, tells_apart=False, broke=broke)
        dealt = self._loss(self.dealt)
        chance = UNRELATED / math.sqrt(sum(map(len, self.targets)))
        return End(loss, dealt, dealt - loss > chance * abs(dealt), "")

    def _begin(self) -> None:
        self.start.restore()
        self.run.model.train()

    def _check(self) -> None:
        """Raise what is wrong with the model or the loss before any rate is."""
        batch = self.run.batch(0)
        try:
            _, loss = self.run.forward(batch)
        except CannotDiagnoseError:
            raise
        except USER_ERRORS as error:
            if _words(self.run, batch, 0):
                return
            raise CannotDiagnoseError(
                f"the model or the loss raised {type(error).__name__} on inputs of shape "
                f"{tuple(batch[0].shape)} and targets of shape {tuple(batch[1].shape)}: {error}"
            ) from error
        if not loss.requires_grad:
            raise CannotDiagnoseError(
                "the loss does not depend on a parameter that requires a gradient: no rate "
                "trains it; expected parameters that are not frozen"
            )

    def _step(self) -> Callable[[Batch], tuple[float, bool]]:
        """A step: the loss before it, and whether that or a gradient was not finite."""
        model, optimizer = self.run.model, self.run.optimizer
        if not isinstance(model, MLP) or self.loss is None:
            return self._step_by_autograd
        engine = Engine(model, self.loss, optimizer, only_finite=True)

        def step(batch: Batch) -> tuple[float, bool]:
            loss = float(engine.step(batch[0].detach(), batch[1].detach()))
            return loss, not math.isfinite(loss)

        return step

    def _step_by_autograd(self, batch: Batch) -> tuple[float, bool]:
        model, optimizer = self.run.model, self.run.optimizer
        optimizer.zero_grad()
        _, loss = self.run.forward(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            return value, True
        loss.backward()  # type: ignore[no-untyped-call]
        if not all_finite([p.grad for p in model.parameters() if p.grad is not None]):
            return value, True
        closed = self.run.needs_closure
        update(optimizer, lambda: self.run.forward(batch)[1], with_closure=closed)
        return value, False

    @torch.no_grad()
    def _loss(self, targets: Sequence[Tensor]) -> float:
        """Mean over the samples with these targets; nan where it cannot be taken."""
        try:
            batches = list(zip(self.inputs, targets, strict=True))
            return sum(float(self.run.forward(batch)[1]) for batch in batches) / len(batches)
        except USER_ERRORS:
            return math.nan


def _words(run: TrainingRun, batch: Batch, step: int) -> str:
    """The first value that is not finite; "" where it is not found again."""
    found = locate(run, batch, step)
    return "" if found is None else str(found)
