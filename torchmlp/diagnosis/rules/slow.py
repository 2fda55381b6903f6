"""Causes that a trial shows: beside the run, a quicker or a longer one gets far."""

import math
from collections.abc import Iterator

from torchmlp.diagnosis.record.record import Record, Trial
from torchmlp.diagnosis.record.thresholds import SLOW
from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.diagnosis.rules.init import dead_units, saturation


def learning_rate_too_low(record: Record) -> Iterator[Finding]:
    """Beside the run, one with a larger rate gets far."""
    yield from _of_trials(record, "learning-rate-too-low")


def too_few_steps(record: Record) -> Iterator[Finding]:
    """Beside the run, a longer one gets far."""
    yield from _of_trials(record, "too-few-steps")


def _of_trials(record: Record, cause: str) -> Iterator[Finding]:
    tried = [t for t in record.trials if cause in t.causes and math.isfinite(t.score)]
    if not tried or record.score is None or record.nonfinite:
        return
    best = max(tried, key=lambda trial: trial.score)
    if next(saturation(record), None) or next(dead_units(record), None):
        return
    floor = record.targets.chance if record.targets else 0.0
    if record.score - floor > SLOW * (best.score - floor):
        return
    losses = record.losses
    fall = 1 - losses[-1] / losses[0] if losses[0] else 0.0
    yield Finding(
        cause,
        None,
        "lr" if cause == "learning-rate-too-low" else "loss",
        len(losses) - 1,
        {
            "lr": record.design.lr,
            "steps": float(len(losses)),
            "fall of the loss": fall,
            "score": record.score,
            "score of the trial": best.score,
        },
        _why_slow(record, best, cause, fall),
        _longer(best) if cause == "too-few-steps" else f"Raise the learning rate: {best.name}.",
    )


def _why_slow(record: Record, best: Trial, cause: str, fall: float) -> str:
    with_it = f"with {best.name} it scores {best.score:.2f}"
    if cause == "learning-rate-too-low":
        return (
            f"In {len(record.losses)} steps of learning rate {record.design.lr:.3g} the loss has "
            f"fallen by {100 * fall:.0f} % and the run scores {record.score:.2f}; {with_it}."
        )
    return (
        f"The run ends after {len(record.losses)} steps while it is still learning: it scores "
        f"{record.score:.2f}; {with_it}."
    )


def _longer(best: Trial) -> str:
    return f"Train longer: {best.steps} steps, or until the loss stops falling."


RULES = (learning_rate_too_low, too_few_steps)
