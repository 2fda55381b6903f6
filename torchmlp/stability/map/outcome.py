"""What came of a short training: nan, diverged, stuck, slow or learns."""

import math
from collections.abc import Sequence

from torchmlp.diagnosis.measure.scoring import BOTTOM
from torchmlp.diagnosis.record.thresholds import EXCELLENT, LATE_RISE, WELL

# On 460 runs of 200 steps (digits, ReLU and logistic, widths 32 to 2048, B 8 to 512, rates 1e-4 to
# 10): those that swing around their start end at most .054 below it, those with a small rate that
# have learned a fifth at least .084.
FALL = 0.07
# Plateaus of too large a rate, two classes told from the rest, reach .18 of what the probe does;
# rates so small that the loss still falls steadily reach .21 at 0.01 (same runs).
LITTLE = 1 - WELL


def last_tenth(losses: Sequence[float]) -> float:
    """Mean of the last tenth of the losses, of one at least."""
    tail = losses[-max(len(losses) // 10, 1) :]
    return sum(tail) / len(tail)


def classify_outcome(
    losses: Sequence[float], accuracy: float | None, chance: float, reachable: float
) -> tuple[str, int | None]:
    """The outcome, one of `OUTCOMES`, and the step of the first nan or infinity.

    It says where a run ends, not what happened on the way: a loss that rises to a thousand times
    its start and comes down again may learn, and one that then stays at ln K is stuck.

    - nan: a loss is not finite, or the outputs at the end are not.
    - learns: at least `WELL` of what a probe reaches above chance, or `EXCELLENT`.
    - diverged: the last tenth's mean is above `LATE_RISE` times the first loss.
    - stuck: less than `LITTLE` has been learned, or the loss has not fallen by `FALL`.
    - slow: what is left; the loss falls, and there is more to learn.

    Args:
        losses: of the batches, step by step, up to the end or the first that is not finite.
        accuracy: on samples held out, a share of 1; None where the outputs were not finite.
        chance: accuracy of a guess.
        reachable: accuracy of a simple probe, the health's: nearest mean or nearest neighbour.

    Returns:
        The outcome, and for nan the step, from 1, of the first loss that is not finite; the last
        step where only what it left is not.

    Raises:
        ValueError: no losses.

    Example:
        >>> classify_outcome([2.3, 1.2, 0.5], 0.85, 0.1, 0.82)
        ('learns', None)
        >>> classify_outcome([2.3, 80.0, math.nan], None, 0.1, 0.82)
        ('nan', 3)
    """
    if not losses:
        raise ValueError("classify_outcome: no losses, expected those of one step at least")
    for step, loss in enumerate(losses, 1):
        if not math.isfinite(loss):
            return "nan", step
    if accuracy is None or not math.isfinite(accuracy):
        return "nan", len(losses)
    # Where the probe finds nothing itself, all that there is has to be learned.
    most = reachable if reachable > chance + BOTTOM else 1.0
    learned = (accuracy - chance) / (most - chance)
    if accuracy >= EXCELLENT or learned >= WELL:
        return "learns", None
    first, end = losses[0], last_tenth(losses)
    if end > LATE_RISE * first:
        return "diverged", None
    if learned < LITTLE or end > (1 - FALL) * first:
        return "stuck", None
    return "slow", None
