"""Choose the reported causes: those whose remedy recovers the run."""

import math
from collections.abc import Sequence
from dataclasses import replace

from torchmlp.diagnosis.measure.scoring import is_well, learned
from torchmlp.diagnosis.record.record import Record, Trial
from torchmlp.diagnosis.record.thresholds import CONFIRMED, HELPED
from torchmlp.diagnosis.rules.causes import CAUSES, Finding, in_order
from torchmlp.diagnosis.rules.evaluate import evaluate_rules
from torchmlp.diagnosis.rules.parameters import UNTRAINABLE, is_untrainable

UNTOUCHED = "untouched"
DYNAMICS = CAUSES[CAUSES.index("saturation") :]  # they show in the run, and not before it
CONSEQUENCES = ("saturation", "dead-units")
OF_WEIGHTS = (*CONSEQUENCES, "exploding-gradient", "vanishing-gradient")
WEAK = "output-loss-mismatch"  # one that is uncertain: a loss that can work
AS_GOOD = 0.88  # of what the best trial learns
LEARNS = 0.25  # of what a probe reaches above chance
SHORT_RUN = 150  # updates; a run of fewer is called short before its rate is called low
START = 0.4  # of the best trial's gain: weights that are wrong explain what they make of the rest
STRUCTURAL = 0.7  # of the best trial's gain: what was wrong before the run began comes first
RATES = ("learning-rate-too-high", "late-divergence", "oscillation")
SUFFICIENT = 0.85  # of the best trial's gain: a cause that explains all there is to explain


def judge(record: Record) -> list[Finding]:
    """The findings of a record, root causes first; none for a run that does well.

    What is a mistake however the run ends is named in any case. Of the rest, where changes have
    been tried, those are named whose change helped, earlier causes before later ones; what their
    change alone explains becomes their symptoms.
    """
    found = in_order(evaluate_rules(record))
    certain = [finding for finding in found if finding.certain]
    if is_untrainable(found):
        return certain
    if is_well(record):
        return [*certain, *_hidden(record, found)]
    certain = [finding for finding in found if finding.certain or finding.is_final]
    others = [finding for finding in found if finding not in certain]
    has_trials = bool(_gains(record))
    if not has_trials and record.budget is not None and _learns(record):
        return certain  # nothing has been tried that could say more
    named = _confirmed(record, certain, others) if has_trials else _untried(certain, others)
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
        if not finding.certain and not finding.is_final
        if finding.cause not in (*DYNAMICS, *UNTRAINABLE, "target-out-of-range")
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


def rank_trials(record: Record) -> list[Trial]:
    """The trials of changes, the best first; fewer changes before more of the same effect."""
    tried = [trial for trial in record.trials if trial.name != UNTOUCHED]
    return sorted(tried, key=lambda t: (-_rounded(t.score), len(t.causes)))


def is_improvement(trial: Trial, record: Record) -> bool:
    """Whether a trial scores clearly better than the run itself."""
    return trial.score - untouched_score(record) >= HELPED


def _rounded(score: float) -> float:
    return round(score, 2) if math.isfinite(score) else -math.inf


def _share(finding: Finding) -> float:
    """Of the best trial's gain, what a cause's own change has to reach to be the one."""
    if finding.cause.startswith("init-"):
        return START
    weak = finding.cause in DYNAMICS or finding.cause == WEAK
    return SUFFICIENT if weak else STRUCTURAL


def _rank(finding: Finding, record: Record) -> int:
    """The order of causes; what only a trial speaks for comes after what has been seen."""
    if finding.cause == WEAK:
        return CAUSES.index("learning-rate-too-low")
    if finding.cause == "learning-rate-too-low" and record.design.steps < SHORT_RUN:
        return len(CAUSES)
    return CAUSES.index(finding.cause)


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


def _untried(certain: Sequence[Finding], others: Sequence[Finding]) -> list[Finding]:
    """Without trials: what was wrong before the first step, else what the rate did to the run."""
    structural = [f for f in others if f.cause not in DYNAMICS]
    named = in_order([*certain, *structural]) or [f for f in others if f.step == 0][:1]
    by_the_rate = [f for f in others if f.cause in RATES]
    return named or by_the_rate[:1] or list(others[:1])


def _learns(record: Record) -> bool:
    """Whether the run, well or not, learns much of what there is."""
    return learned(record, untouched_score(record)) > LEARNS


def _is_as_good(record: Record, gain: float) -> bool:
    """Whether a run learns about as much as with the best change, which gained so much."""
    floor = record.targets.chance if record.targets else 0.0
    own = untouched_score(record) - floor
    return gain < HELPED or own >= AS_GOOD * (own + gain)


def _beside(
    certain: Sequence[Finding],
    others: Sequence[Finding],
    gains: dict[tuple[str, ...], float],
    best: float,
) -> list[Finding]:
    """Of the others, those that have to be mended too before the run is a good one."""
    mistakes = {finding.cause for finding in certain}
    alone = max((gain for causes, gain in gains.items() if {*causes} <= mistakes), default=-1.0)
    if best < HELPED or alone >= STRUCTURAL * best or any(f.is_final for f in certain):
        return []
    needed = max(gains, key=lambda causes: (gains[causes], -len(causes)))
    return [
        f
        for f in others
        if f.cause not in DYNAMICS
        if f.cause in needed or gains.get((f.cause,), -1.0) >= max(HELPED, CONFIRMED * best)
    ]


def _confirmed(
    record: Record, certain: Sequence[Finding], others: Sequence[Finding]
) -> list[Finding]:
    gains = _gains(record)
    best = max(gains.values(), default=0.0)
    if certain:
        return in_order([*certain, *_beside(certain, others, gains, best)])
    # It learns, and as well as anything that was tried: what looked suspicious was not.
    if _learns(record) and _is_as_good(record, best):
        return []
    if best < HELPED:
        return _untried((), others)[:1]
    alone = {f.cause: gains.get((f.cause,), -1.0) for f in others}
    # Weights that help when they are drawn anew are why units are saturated from the start: what
    # helps against that speaks for them.
    inits = [f for f in others if f.cause.startswith("init-") and alone[f.cause] >= HELPED]
    if inits:
        top = max([alone[f.cause] for f in others if f.cause in OF_WEIGHTS], default=-1.0)
        alone |= {f.cause: max(alone[f.cause], top) for f in inits}
        others = [f for f in others if f.cause not in OF_WEIGHTS]
    helping = [f for f in others if alone[f.cause] >= max(HELPED, CONFIRMED * best)]
    # A rate that helps is why units have died or saturated since the start.
    if any(f.cause in RATES for f in helping):
        others = [f for f in others if f.cause not in CONSEQUENCES or f.step == 0]
        helping = [f for f in helping if f in others]
    strong = [f for f in helping if alone[f.cause] >= _share(f) * best]
    strong.sort(key=lambda f: _rank(f, record))
    if strong:
        return strong[:1]
    # No change suffices by itself: what the best set of changes needs.
    needed = max(gains, key=lambda key: (gains[key], -len(key)))
    named = [f for f in others if f.cause in needed]
    return named or helping or list(others[:1])
