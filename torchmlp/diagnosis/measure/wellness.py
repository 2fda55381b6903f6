"""Whether a run does well: what it has learned, beside what simple probes learn."""

import math

from torchmlp.diagnosis.record import Record
from torchmlp.diagnosis.thresholds import EXCELLENT, WELL

BOTTOM = 0.05  # of a classifier's chance, or of R², below which nothing has been learned


def learned(record: Record, score: float | None) -> float:
    """The share of what a probe reaches above chance; 0 for a run that broke."""
    targets = record.targets
    if score is None or not math.isfinite(score) or targets is None:
        return 0.0
    if targets.kind == "labels":
        chance = max(record.score_start or 0.0, 0.5)
        return (score - chance) / (1 - chance) if chance < 1 else 1.0
    probes = [p for p in (targets.centroid, targets.neighbour, targets.linear) if p is not None]
    chance = targets.chance if targets.kind == "classes" else 0.0
    reached = max([p for p in probes if p > chance + BOTTOM], default=1.0)
    return (score - chance) / (reached - chance)


def is_well(record: Record) -> bool:
    """Whether the run, as it is, learns what there is to learn."""
    if record.not_finite is not None or record.score is None:
        return False
    return record.score >= EXCELLENT or learned(record, record.score) >= WELL
