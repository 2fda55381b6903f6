"""Choose and run remedies within a compute budget."""

import math
from dataclasses import replace

from torchmlp.diagnosis.measure.data_statistics import gathered
from torchmlp.diagnosis.measure.scoring import is_well, scoring_of
from torchmlp.diagnosis.measure.training_loop import EVALUATED
from torchmlp.diagnosis.record.record import Record, Trial
from torchmlp.diagnosis.remedies.batched_trials import attempt_all
from torchmlp.diagnosis.remedies.catalogue import Change, changes, further, together, unasked
from torchmlp.diagnosis.remedies.trial import LONGEST, WORK_OF_ALL, steps_of_trial, work_of_a_step
from torchmlp.diagnosis.rules.attribution import DYNAMICS, UNTOUCHED
from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.diagnosis.rules.evaluate import evaluate_rules
from torchmlp.diagnosis.rules.parameters import UNTRAINABLE
from torchmlp.diagnosis.run.run import TrainingRun
from torchmlp.diagnosis.run.snapshot import Snapshot

GOOD = 0.97  # a score that no further change need improve
LEAST_GAIN = 0.02
ROUNDS = 2


def search(run: TrainingRun, start: Snapshot, record: Record) -> None:
    """Try the remedies of what the rules suspect, each by itself and together, and write it down.

    A run that does well is only tried for what it may do well in spite of.
    """
    found = evaluate_rules(record)
    well = is_well(record)
    if well:
        found = [f for f in found if f.certain or f.cause not in (*DYNAMICS, *UNTRAINABLE)]
    if record.targets is None or (well and not found):
        return
    if run.deadline.has_passed:
        return
    tries = _Search(run, start, record)
    if not record.trials and (record.nonfinite or tries.tried(Change(UNTOUCHED, ())) is None):
        losses = list(record.losses)
        record.trials.append(Trial(UNTOUCHED, [], len(losses), losses, math.nan))
    causes = {f.cause for f in found}
    is_open = not well and not any(f.certain or f.is_final for f in found)
    others = [c for c in unasked(record) if c.causes[0] not in causes] if is_open else []
    tries.ahead([*(change for f in found for change in changes(f, record)), *others])
    tries.each(found)
    tries.unasked(others)
    if not well:
        tries.combine()


def _key(change: Change) -> Change:
    return replace(change, name="", causes=(), lr=0.0)


class _Search:
    """The trials of a record, each made once, as long as the work allows."""

    def __init__(self, run: TrainingRun, start: Snapshot, record: Record) -> None:
        assert record.targets is not None
        self.record = record
        untouched = [trial.steps for trial in record.trials if trial.name == UNTOUCHED]
        self.steps = untouched[0] if untouched else steps_of_trial(run, record.design.steps)
        samples = gathered(run.batches, EVALUATED)
        scoring = scoring_of(record.targets, record.design)
        self.how = run, start, record, samples, scoring, self.steps
        self.work_of_a_step = work_of_a_step(run)
        self.left = WORK_OF_ALL
        self.suspected: list[Change] = []
        self.known: dict[Change, Trial | None] = {}
        self.ready: dict[Change, Trial | None] = {}  # those that are not asked for yet
        self.best: list[tuple[float, Change]] = []

    def each(self, found: list[Finding]) -> None:
        """Every cause's own remedies."""
        for finding in found:
            scored = [(self.tried(change), change) for change in changes(finding, self.record)]
            options = [(score, change) for score, change in scored if score is not None]
            if options:
                self.best.append(max(options, key=lambda option: option[0]))
        self.suspected = [change for _, change in self.best]

    def unasked(self, others: list[Change]) -> None:
        """What is tried whatever the rules say."""
        for change in others:
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
                if top[0] >= GOOD or self.how[0].deadline.has_passed:
                    return
                both = together([chosen, other])
                is_new = _key(both) not in self.known and _key(both) != Change("", ())
                reached = self.tried(both) if is_new else None
                if reached is not None and reached > top[0]:
                    top = reached, both
            if top[0] < score + LEAST_GAIN:
                return
            score, chosen = top

    def work(self, change: Change) -> float:
        """What a change's trial takes."""
        return self.work_of_a_step * min(self.steps * change.longer, LONGEST)

    def ahead(self, changes: list[Change]) -> None:
        """Train those that will be tried, as far as the work allows, where they can be together."""
        wanted: dict[Change, Change] = {}
        left = self.left
        for change in changes:
            key, work = _key(change), self.work(change)
            if key not in wanted and key not in self.known and work <= left:
                left -= work
                wanted[key] = change
        trials = attempt_all(list(wanted.values()), *self.how)
        self.ready |= dict(zip(wanted, trials, strict=True))

    def tried(self, change: Change) -> float | None:
        """The score of a change; −∞ if its run broke, None where it cannot be made or afforded."""
        # The same change may be the remedy of two causes.
        key = _key(change)
        if key not in self.known:
            if self.work(change) > self.left:
                return None
            if key not in self.ready:
                self.ahead([change])
            self.left -= self.work(change)
            self.known[key] = self.ready.pop(key)
        trial = self.known[key]
        if trial is None:
            return None
        self.record.trials.append(replace(trial, name=change.name, causes=list(change.causes)))
        return trial.score if math.isfinite(trial.score) else -math.inf
