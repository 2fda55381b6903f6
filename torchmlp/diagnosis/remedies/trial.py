"""Train a modified copy of the run from the same start on the same batches."""

import math
import time

import torch

from torchmlp.diagnosis.measure.scoring import Scoring
from torchmlp.diagnosis.record.record import Record, Trial
from torchmlp.diagnosis.remedies.catalogue import Change, patch_of
from torchmlp.diagnosis.remedies.code import code_of
from torchmlp.diagnosis.remedies.modified_run import NOT_APPLICABLE, ModifiedRun
from torchmlp.diagnosis.run.deadline import OutOfTimeError
from torchmlp.diagnosis.run.run import Batch, TrainingRun
from torchmlp.diagnosis.run.snapshot import Snapshot
from torchmlp.diagnosis.trace.custom_backward import (
    differentiated_by_autograd,
    functions_of,
)

# In multiplications, of which two cores do some 3e10 a second. Counted and not timed, so that a
# diagnosis is the same on a loaded machine.
WORK_OF_A_TRIAL = 3e9
WORK_OF_ALL = 7e10
WORK_OF_A_CALL = 1e6  # what torch takes to call the operations of one parameter
LEAST_STEPS = 40
LONGEST = 3000
SHARE = 0.07  # of the time that a diagnosis has, for a trial
TIMED = 3  # steps, of which the quickest counts


def steps_of_trial(run: TrainingRun, steps: int, seconds: float = 0.0) -> int:
    """How many steps a trial takes: all, where that is quick, else some tens.

    Args:
        run: with its deadline.
        steps: of the run.
        seconds: that a step takes.
    """
    most = max(LEAST_STEPS, int(WORK_OF_A_TRIAL / work_of_a_step(run)))
    if seconds > 0 and math.isfinite(run.deadline.seconds):
        most = min(most, max(LEAST_STEPS, int(SHARE * run.deadline.seconds / seconds)))
    return min(steps, most)


def seconds_of_step(run: TrainingRun, start: Snapshot) -> float:
    """What a step takes, by the clock; the run is afterwards as it was at the start."""
    taken = []
    for _ in range(TIMED):
        began = time.perf_counter()
        run.optimizer.zero_grad()
        _, loss = run.forward(run.batch(0))
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
        taken.append(time.perf_counter() - began)
    start.restore()
    return min(taken)


def work_of_a_step(run: TrainingRun) -> float:
    """Multiplications of a step, or their worth in time."""
    rows = len(run.batches[0][0])
    parameters = list(run.model.parameters())
    wide = 2.0 if parameters[0].dtype == torch.float64 else 1.0
    products = 3.0 * rows * sum(p.numel() for p in parameters)
    return wide * products + WORK_OF_A_CALL * (len(parameters) + 2)


def attempt(
    change: Change,
    run: TrainingRun,
    start: Snapshot,
    record: Record,
    samples: Batch,
    scoring: Scoring,
    steps: int,
) -> Trial | None:
    """Train from the start with the change; the run is afterwards as it was at the start.

    None where the change cannot be made of this network, or the time is out.
    """
    if run.deadline.has_passed:
        return None
    start.restore()
    functions: list[type] = []
    try:
        if change.autograd:
            _, loss = run.forward(run.batch(0))
            functions = functions_of(loss)
            start.restore()
        with differentiated_by_autograd(functions):
            changed = ModifiedRun(change, run, samples)
            if not changed.is_possible:
                return None
            losses = changed.train(steps_of(change, steps))
            score = changed.score(samples, scoring)
    except (*NOT_APPLICABLE, OutOfTimeError):
        return None
    finally:
        start.restore()
    return trial_of(change, record, steps, losses, score)


def steps_of(change: Change, steps: int) -> int:
    """How many steps a change is tried for, where others are for `steps`."""
    return min(steps * change.longer, max(LONGEST, steps))


def trial_of(
    change: Change, record: Record, steps: int, losses: list[float], score: float
) -> Trial:
    """What is written down of a change that was tried."""
    return Trial(
        name=change.name,
        causes=list(change.causes),
        steps=steps_of(change, steps),
        losses=losses,
        score=score,
        patch=patch_of(change, record),
        code=code_of(change, record),
    )
