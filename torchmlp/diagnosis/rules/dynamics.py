"""Causes that show while a run goes on."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torchmlp.diagnosis.record.record import Record
from torchmlp.diagnosis.record.thresholds import LATE_HIGH, LATE_RISE, RISES, SPIKE
from torchmlp.diagnosis.rules.causes import Finding

EARLY = 0.1  # of the run; a least loss before it is no learning that was lost
SMOOTHED = 20  # windows that a run's losses are averaged over
SWINGS = 0.5  # of its mean
LOST_WAY = 0.6  # share of its ups and downs that cancel


def smoothed(losses: Sequence[float]) -> list[float]:
    """Means over a twentieth of the run each; infinite where a loss was not finite."""
    size = max(len(losses) // SMOOTHED, 1)
    means = []
    for start in range(0, len(losses), size):
        part = losses[start : start + size]
        mean = sum(part) / len(part)
        means.append(mean if math.isfinite(mean) else math.inf)
    return means


def learning_rate_too_high(record: Record) -> Iterator[Finding]:
    """The same batch's loss rises after its own step, or the loss shoots up."""
    losses = record.losses
    if len(losses) < 2 or losses[0] <= 0:  # noqa: PLR2004
        return
    broken = record.nonfinite
    ratios = record.same_batch_loss_ratio
    rises = [ratio for ratio in ratios if not ratio <= 1]
    share = len(rises) / len(ratios) if ratios else 0.0
    finite = [loss for loss in losses if math.isfinite(loss)]
    spike = max(finite) / losses[0]
    shot_up = spike > SPIKE or (broken is not None and broken.step > 0)
    if share < RISES and (not shot_up or next(late_divergence(record), None)):
        return
    design = record.design
    limit = design.max_stable_lr
    beside = ""
    if limit and "SGD" in design.optimizer:
        beside = f" The largest stable learning rate, 2 / λmax, is {limit:.2g}."
    ended = (
        f"the first {broken.value} is at step {broken.step}"
        if broken
        else f"the loss goes up to {spike:.3g} times its start"
    )
    yield Finding(
        "learning-rate-too-high",
        None,
        "lr",
        broken.step if broken else losses.index(max(finite)),
        {
            "lr": design.lr,
            "same batch worse": share,
            "largest / first loss": spike,
            "largest stable lr": limit or 0.0,
        },
        f"With a learning rate of {design.lr:.3g} ({design.optimizer}) the loss of a batch is "
        f"higher after its own step in {100 * share:.0f} % of the first {len(ratios)} steps, and "
        f"{ended}.{beside}",
        f"Lower the learning rate: {_rate(record, 0.1):.2g}, or less.",
    )


def late_divergence(record: Record) -> Iterator[Finding]:
    """The loss falls, and later rises again for good."""
    means = smoothed(record.losses)
    if len(means) < 4:  # noqa: PLR2004  nothing to be late in
        return
    least = min(means)
    at = means.index(least)
    start = means[0]
    fell = least < 0.7 * start
    end = max(means[-1], means[-2]) if means[-1] > least else means[-1]
    if at < EARLY * len(means) or not fell:
        return
    if not (end > LATE_RISE * least and end > LATE_HIGH * start):
        return
    if next(oscillation(record), None):
        return  # up and down again, and not up for good
    step = at * max(len(record.losses) // SMOOTHED, 1)
    yield Finding(
        "late-divergence",
        None,
        "loss",
        step,
        {"first": start, "least": least, "last": end, "lr": record.design.lr},
        f"The loss falls from {start:.3g} to {least:.3g} by step {step} and rises again to "
        f"{end:.3g}: the steps that led there are too large to stay there.",
        "Let the learning rate decay (OneCycleLR, CosineAnnealingLR), or lower it; less momentum.",
    )


def oscillation(record: Record) -> Iterator[Finding]:
    """The loss swings up and down by much of its size and stays bounded."""
    if record.nonfinite or len(record.losses) < 20:  # noqa: PLR2004
        return
    losses = [loss for loss in record.losses if math.isfinite(loss)]
    tail = losses[len(losses) // 4 :]
    means = _windows(tail)
    mean = sum(means) / len(means)
    if mean <= 0 or losses[0] <= 0:
        return
    turns = [b - a for a, b in pairwise(means)]
    way = sum(abs(turn) for turn in turns)
    net = abs(means[-1] - means[0])
    swing = (max(means) - min(means)) / mean
    back = 1 - net / way if way else 0.0
    if swing < SWINGS or back < LOST_WAY or max(means) < 0.3 * losses[0]:
        return
    momentum = record.design.momentum
    yield Finding(
        "oscillation",
        None,
        "loss",
        len(losses) // 4,
        {"swing": swing, "way lost": back, "momentum": momentum, "lr": record.design.lr},
        f"The loss swings between {min(means):.3g} and {max(means):.3g} and gets nowhere: "
        f"{100 * back:.0f} % of its ups and downs cancel (lr {record.design.lr:.3g}, momentum "
        f"{momentum:g}).",
        "Less momentum (0.9), or a smaller learning rate; larger batches if they are tiny.",
    )


def _windows(values: Sequence[float]) -> list[float]:
    size = max(len(values) // 30, 1)
    return [
        sum(values[k : k + size]) / len(values[k : k + size]) for k in range(0, len(values), size)
    ]


def _rate(record: Record, factor: float) -> float:
    return record.design.lr * factor


RULES = (
    learning_rate_too_high,
    late_divergence,
    oscillation,
)
