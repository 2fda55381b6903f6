"""A diagnosis: findings, remedies, and the record they were drawn from."""

import json
import math
import textwrap
from dataclasses import asdict, dataclass

from torchmlp.diagnosis.measure.scoring import is_well
from torchmlp.diagnosis.record.record import Record, Trial, plain
from torchmlp.diagnosis.report.schema import NAME, READ
from torchmlp.diagnosis.rules.attribution import (
    UNTOUCHED,
    is_improvement,
    judge,
    rank_trials,
    untouched_score,
)
from torchmlp.diagnosis.rules.causes import Finding

WIDTH = 88  # columns of the text
LONGEST_NAME = 50
SHOWN = 5  # trials in the text
IN_THE_LOOP = (
    "The parts train: if your script still fails, the mistake is in its loop, which "
    "`torchmlp watch script.py` looks at."
)
WELL_ENOUGH, NO_HARM = 0.7, 0.02


@dataclass(frozen=True)
class Report:
    """What `diagnose` answers. `str(report)` is a screen of text.

    Attributes:
        findings: root causes first; none where the run is healthy.
        remedies: trials of changed runs, the best first.
        record: the numbers.
    """

    findings: list[Finding]
    remedies: list[Trial]
    record: Record

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report of the record in what `to_json` wrote: judged again by today's rules.

        Raises:
            ValueError: the text is none.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"expected a report in JSON, got {error}") from error
        if not isinstance(values, dict) or values.get("schema") not in READ:
            raise ValueError(f"expected a report of schema {' or '.join(READ)}")
        return cls.of(Record.from_json(json.dumps(values.get("record"))))

    @classmethod
    def of(cls, record: Record) -> "Report":
        """The report of a record, which may have been read from a file."""
        return cls(judge(record), rank_trials(record), record)

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def remedy(self) -> Trial | None:
        """The best trial that helped a finding; None where none did.

        Of a run that scores well in spite of a mistake, the mistake's own remedy, if it does no
        harm.
        """
        causes = {cause for f in self.findings for cause in (f.cause, *f.symptoms)}
        tried = [t for t in self.remedies if causes & {*t.causes}]
        helped = [t for t in tried if is_improvement(t, self.record)]
        if helped or not self.findings:
            return helped[0] if helped else None
        base = untouched_score(self.record)
        as_good = [t for t in tried if base >= WELL_ENOUGH and t.score >= base - NO_HARM]
        return as_good[0] if as_good else None

    @property
    def verdict(self) -> str:
        """One line: healthy, or the first cause, or that a bad run shows none."""
        if self.findings:
            first = self.findings[0]
            where = "" if first.layer is None else f" in layer {first.layer}"
            return f"sick: {first.cause}{where}"
        record = self.record
        if record.score is None:
            return "healthy: nothing was found"
        scores = f"{_scores(record)} after {len(record.losses)} steps"
        if is_well(record) or record.score != record.score:
            return f"healthy: nothing was found; {scores}"
        return f"no cause was found; {scores}, and no change that was tried does better"

    def to_json(self) -> str:
        """Findings, remedies and record as JSON, in the form of `torchmlp.diagnosis.report.schema`.

        nan and the infinities are the strings "nan", "inf" and "-inf".
        """
        first = self.remedy
        values = {
            "schema": NAME,
            "healthy": self.healthy,
            "verdict": self.verdict,
            "findings": [asdict(finding) for finding in self.findings],
            "remedies": [
                {**asdict(t), "helped": is_improvement(t, self.record)} for t in self.remedies
            ],
            "remedy": first.name if first else None,
            "record": asdict(self.record),
        }
        return json.dumps(plain(values), ensure_ascii=False)

    def __str__(self) -> str:
        """The verdict, a line for each finding, then the evidence and what was tried."""
        lines = [self.verdict, *_broke(self.record), *_cut_short(self.record)]
        lines += _seen_from_outside(self.record)
        if self.healthy and self.record.trials and is_well(self.record):
            lines += textwrap.wrap(IN_THE_LOOP, WIDTH)
        for finding in self.findings:
            lines += ["", *_told(finding)]
        if self.findings and self.remedies:
            lines += ["", *self._tried()]
        elif self.findings and (code := self.findings[0].code):
            lines += ["", "do this:", *(f"  {line}" for line in code.splitlines())]
        return "\n".join(lines)

    def _tried(self) -> list[str]:
        record, helper = self.record, self.remedy
        base = next((t for t in record.trials if t.name == UNTOUCHED), None)
        lines = ["tried, each from the same start on the same batches:"]
        # The same change under another cause's name is one line.
        distinct = {repr((t.score, t.losses)): t for t in reversed(self.remedies)}
        shown = list(reversed(distinct.values()))[:SHOWN]
        if helper and helper not in shown:
            shown.append(helper)
        width = max(len(t.name) for t in [*shown, base] if t)
        for trial in [*([base] if base else []), *shown]:
            mark = "helped" if is_improvement(trial, record) else "did not help"
            score = _score(trial.score)
            lines.append(
                f"  {_cut(trial.name):{min(width, LONGEST_NAME)}}  {_metric(record)} {score}  "
                f"loss {_from_to(trial.losses)}" + ("" if trial is base else f"  {mark}")
            )
        if len(distinct) > len(shown):
            lines.append(f"  and {len(distinct) - len(shown)} more, which did no better")
        if helper:
            lines += ["", "do this:", *(f"  {line}" for line in helper.code.splitlines())]
        elif self.findings:
            lines += ["", "none of the changes tried has made the run a good one"]
        return lines


def _told(finding: Finding) -> list[str]:
    where = "" if finding.layer is None else f", layer {finding.layer}"
    step = "before the first step" if finding.step == 0 else f"at step {finding.step}"
    numbers = ", ".join(f"{name} {value:.3g}" for name, value in finding.evidence.items())
    lines = [f"{finding.cause}{where} ({finding.quantity}, {step})"]
    for text in (finding.explanation, f"evidence: {numbers}" if numbers else ""):
        lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
    if finding.symptoms:
        explained = f"explains: {', '.join(finding.symptoms)}"
        lines += textwrap.wrap(explained, WIDTH, initial_indent="  ", subsequent_indent="    ")
    remedy = f"remedy: {finding.remedy}"
    return lines + textwrap.wrap(remedy, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _broke(record: Record) -> list[str]:
    return [] if record.nonfinite is None else [str(record.nonfinite)]


def _seen_from_outside(record: Record) -> list[str]:
    """What the network is made of where its values were not looked into."""
    owners: dict[str, str] = {}
    for part in record.parts:
        if "Norm" not in part.kind and len(part.shape) > 1:
            owners[part.name.rpartition(".")[0] or part.name] = part.kind
    if not owners:
        return []
    named = ", ".join(f"{name} ({kind})" for name, kind in list(owners.items())[:SHOWN])
    more = f" and {len(owners) - SHOWN} more" if len(owners) > SHOWN else ""
    return textwrap.wrap(f"looked at by weights and gradients alone: {named}{more}", WIDTH)


def _cut_short(record: Record) -> list[str]:
    if record.budget is None:
        return []
    done, steps = len(record.losses), record.design.steps
    is_whole = done >= steps or record.nonfinite is not None
    ran = "all steps" if is_whole else f"{done} of {steps} steps"
    tried = len([trial for trial in record.trials if trial.name != UNTOUCHED])
    changes = f"{tried} change" if tried == 1 else f"{tried} changes"
    said = (
        f"the time is out ({record.budget:g} s): {ran} trained, {changes} tried; a larger budget "
        f"tries more"
    )
    return [said]


def _metric(record: Record) -> str:
    return "R²" if record.targets and record.targets.kind == "numbers" else "accuracy"


def _scores(record: Record) -> str:
    return f"{_metric(record)} {record.score or 0:.2f}"


def _score(score: float) -> str:
    if not math.isfinite(score):
        return " nan"
    return f"{score:.2f}" if abs(score) < 1000 else f"{score:.0e}"  # noqa: PLR2004  columns


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _from_to(losses: list[float]) -> str:
    if not losses:
        return "none"
    tenth = losses[-max(len(losses) // 10, 1) :]
    return f"{losses[0]:.3g} to {sum(tenth) / len(tenth):.3g}"
