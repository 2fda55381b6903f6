"""From what the rules suspect to what is named: a cause is what a run recovers without."""

import math
from collections.abc import Sequence
from dataclasses import replace

from torchmlp.health.findings import CAUSES, Finding, in_order
from torchmlp.health.record import Record, Trial
from torchmlp.health.rules import suspects
from torchmlp.health.thresholds import CONFIRMED, HELPED
from torchmlp.health.wellness import is_well

UNTOUCHED = "untouched"
DYNAMICS = CAUSES[CAUSES.index("saturation") :]  # they show in the run, and not before it
STRUCTURAL = 0.5  # of the best trial's gain: what was wrong before the run began comes first
SUFFICIENT = 0.85  # of the best trial's gain: a cause that explains all there is to explain


def judge(record: Record) -> list[Finding]:
    """The findings of a record, root causes first; none for a run that does well.

    What is a mistake however the run ends is named in any case. Of the rest, where changes have
    been tried, those are named whose change helped, earlier causes before later ones; what their
    change alone explains becomes their symptoms.
    """
    found = in_order(suspects(record))
    certain = [finding for finding in found if finding.certain]
    if is_well(record):
        return [*certain, *_hidden(record, found)]
    certain += [finding for finding in found if finding.is_final]
    others = [finding for finding in found if finding not in certain]
    has_trials = bool(_gains(record))
    named = _confirmed(record, certain, others) if has_trials else certain or others[:1]
    rest = [finding.cause for finding in found if finding not in named]
    return [
        replace(finding, symptoms=tuple(rest) if k == 0 else ()) for k, finding in enumerate(named)
    ]


def _hidden(record: Record, found: Sequence[Finding]) -> list[Finding]:
    """What a run does well in spite of: its change takes away half of what is left to gain."""
    gains, base = _gains(record), untouched_score(record)
    return [
        finding
        for finding in found
        if not finding.certain and not finding.is_final and finding.cause not in DYNAMICS
        if gains.get((finding.cause,), 0.0) >= max(HELPED, 0.5 * (1 - base))
    ][:1]


def untouched_score(record: Record) -> float:
    """The score of the run itself, at the trials' length; what guessing reaches if it broke."""
    scores = [trial.score for trial in record.trials if trial.name == UNTOUCHED]
    score = scores[0] if scores else record.score
    floor = record.targets.chance if record.targets else 0.0
    if score is None or not math.isfinite(score):
        return floor
    return max(score, 0.0)


def ranked(record: Record) -> list[Trial]:
    """The trials of changes, the best first; fewer changes before more of the same effect."""
    tried = [trial for trial in record.trials if trial.name != UNTOUCHED]
    return sorted(tried, key=lambda t: (-_rounded(t.score), len(t.causes)))


def has_helped(trial: Trial, record: Record) -> bool:
    """Whether a trial scores clearly better than the run itself."""
    return trial.score - untouched_score(record) >= HELPED


def _rounded(score: float) -> float:
    return round(score, 2) if math.isfinite(score) else -math.inf


def _gains(record: Record) -> dict[tuple[str, ...], float]:
    """What the best change of each set of causes gained."""
    base = untouched_score(record)
    gains: dict[tuple[str, ...], float] = {}
    for trial in record.trials:
        if trial.name == UNTOUCHED:
            continue
        gain = trial.score - base if math.isfinite(trial.score) else -1.0
        key = tuple(trial.causes)
        gains[key] = max(gains.get(key, -1.0), gain)
    return gains


def _confirmed(
    record: Record, certain: Sequence[Finding], others: Sequence[Finding]
) -> list[Finding]:
    gains = _gains(record)
    best = max(gains.values(), default=0.0)
    if certain:
        return list(certain)
    if best < HELPED:
        # Nothing helped; what was seen at the start still is.
        return [finding for finding in others if finding.step == 0][:1] or list(others[:1])
    alone = {f.cause: gains.get((f.cause,), -1.0) for f in others}
    helping = [f for f in others if alone[f.cause] >= HELPED and alone[f.cause] >= CONFIRMED * best]
    strong = [
        f
        for f in helping
        if alone[f.cause] >= (SUFFICIENT if f.cause in DYNAMICS else STRUCTURAL) * best
    ]
    if strong:
        return strong[:1]
    # No change suffices by itself: what the best set of changes needs.
    needed = max(gains, key=lambda key: (gains[key], -len(key)))
    named = [f for f in others if f.cause in needed]
    return named or helping or list(others[:1])
