"""Which changes are tried of a sick run, in which order, and how long."""

import math
from dataclasses import replace

from torchmlp.health.datastats import gathered
from torchmlp.health.findings import Finding
from torchmlp.health.judge import DYNAMICS, UNTOUCHED
from torchmlp.health.record import Record, Trial
from torchmlp.health.remedies import Change, changes, further, together, unasked
from torchmlp.health.rules import suspects
from torchmlp.health.run import EVALUATED
from torchmlp.health.scoring import scoring_of
from torchmlp.health.subject import Start, Subject
from torchmlp.health.trials import LONGEST, WORK_OF_ALL, attempt, trial_steps, work_of_a_step
from torchmlp.health.wellness import is_well

GOOD = 0.97  # a score that no further change need improve
LEAST_GAIN = 0.02
ROUNDS = 2


def search(subject: Subject, start: Start, record: Record) -> None:
    """Try the remedies of what the rules suspect, each by itself and together, and write it down.

    A run that does well is only tried for what it may do well in spite of.
    """
    found = suspects(record)
    well = is_well(record)
    if well:
        found = [f for f in found if f.certain or f.cause not in DYNAMICS]
    if record.targets is None or (well and not found):
        return
    tries = _Search(subject, start, record)
    if not record.trials and (record.not_finite or tries.tried(Change(UNTOUCHED, ())) is None):
        losses = list(record.losses)
        record.trials.append(Trial(UNTOUCHED, [], len(losses), losses, math.nan))
    tries.each(found)
    if not well:
        if not any(f.certain or f.is_final for f in found):
            tries.unasked({f.cause for f in found})
        tries.combine()


def _key(change: Change) -> Change:
    return replace(change, name="", causes=())


class _Search:
    """The trials of a record, each made once, as long as the work allows."""

    def __init__(self, subject: Subject, start: Start, record: Record) -> None:
        assert record.targets is not None
        self.subject, self.start, self.record = subject, start, record
        self.samples = gathered(subject.batches, EVALUATED)
        self.scoring = scoring_of(record.targets, record.design)
        self.steps = trial_steps(subject, record.design.steps)
        self.work = work_of_a_step(subject)
        self.left = WORK_OF_ALL
        self.suspected: list[Change] = []
        self.known: dict[Change, Trial | None] = {}
        self.best: list[tuple[float, Change]] = []

    def each(self, found: list[Finding]) -> None:
        """Every cause's own remedies."""
        for finding in found:
            scored = [(self.tried(change), change) for change in changes(finding, self.record)]
            options = [(score, change) for score, change in scored if score is not None]
            if options:
                self.best.append(max(options, key=lambda option: option[0]))
        self.suspected = [change for _, change in self.best]

    def unasked(self, causes: set[str]) -> None:
        """What is tried whatever the rules say, but for the causes that they have named."""
        for change in unasked(self.record):
            if change.causes[0] in causes:
                continue
            score = self.tried(change)
            if score is not None:
                self.best.append((score, change))

    def combine(self) -> None:
        """Add to the best change what makes it better, as long as there is something to gain."""
        if not self.best:
            return
        if len(self.suspected) > 1:
            both = together(self.suspected)
            score = self.tried(both)
            if score is not None:
                self.best.append((score, both))
        self.best.sort(key=lambda option: -option[0])
        score, chosen = self.best[0]
        others = [change for _, change in self.best[1:] if change.causes != chosen.causes]
        for _ in range(ROUNDS):
            top = score, chosen
            for other in [*others, *further(self.record)]:
                if top[0] >= GOOD:
                    return
                both = together([chosen, other])
                is_new = _key(both) not in self.known and _key(both) != Change("", ())
                reached = self.tried(both) if is_new else None
                if reached is not None and reached > top[0]:
                    top = reached, both
            if top[0] < score + LEAST_GAIN:
                return
            score, chosen = top

    def tried(self, change: Change) -> float | None:
        """The score of a change; −∞ if its run broke, None where it cannot be made or afforded."""
        # The same change may be the remedy of two causes.
        key = _key(change)
        if key not in self.known:
            work = self.work * min(self.steps * change.longer, LONGEST)
            if work > self.left:
                return None
            self.left -= work
            self.known[key] = attempt(
                change,
                self.subject,
                self.start,
                self.record,
                self.samples,
                self.scoring,
                self.steps,
            )
        trial = self.known[key]
        if trial is None:
            return None
        self.record.trials.append(replace(trial, name=change.name, causes=list(change.causes)))
        return trial.score if math.isfinite(trial.score) else -math.inf
