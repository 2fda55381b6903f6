"""What watching a loop has found."""

import json
import os
import textwrap
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from torchmlp.diagnosis.record.record import plain
from torchmlp.diagnosis.report.report import Report
from torchmlp.diagnosis.rules.causes import Finding

NAME = "torchmlp.watch/1"
WIDTH = 78


@dataclass(frozen=True)
class WatchReport:
    """What `watch` answers. `str(report)` is a screen of text.

    Attributes:
        findings: causes, root causes first; none where nothing was found.
        perhaps: what looks like a mistake and may be meant.
        steps: optimizer steps that were watched.
        backwards: backward passes that were watched.
        notes: what could not be watched, in a sentence each.
        diagnosis: of the model, loss, optimizer and batches by themselves; None where they were
            not understood, or the loop's own mistakes were found.
    """

    findings: list[Finding]
    perhaps: list[Finding]
    steps: int
    backwards: int
    notes: list[str]
    diagnosis: Report | None = None

    @property
    def healthy(self) -> bool:
        """Whether nothing was found; what is only perhaps a mistake does not count."""
        return not self.findings

    @property
    def verdict(self) -> str:
        """One line."""
        watched = f"{self.steps} steps, {self.backwards} backward passes"
        if self.findings:
            first = self.findings[0]
            return f"found: {first.cause}{_at(first)}"
        if not self.backwards and not self.steps:
            return "nothing was trained: no backward pass and no optimizer step was seen"
        return f"healthy: nothing was found in {watched}"

    def to_json(self) -> str:
        """As JSON of the schema torchmlp.watch/1: healthy, findings, perhaps, steps, notes."""
        values: dict[str, Any] = {
            "schema": NAME,
            "healthy": self.healthy,
            "verdict": self.verdict,
            "findings": [asdict(finding) for finding in self.findings],
            "perhaps": [asdict(finding) for finding in self.perhaps],
            "steps": self.steps,
            "backward_passes": self.backwards,
            "notes": self.notes,
        }
        return json.dumps(plain(values), ensure_ascii=False)

    def __str__(self) -> str:
        """The verdict, then each finding with its line, its numbers and the change."""
        lines = [self.verdict]
        if self.findings:
            count = len(self.findings)
            lines = [f"{count} mistake{'s' * (count > 1)} found in {self.steps} steps"]
        for finding in self.findings:
            lines += ["", *_told(finding, finding.cause)]
        for finding in self.perhaps:
            lines += ["", *_told(finding, f"perhaps: {finding.cause}")]
        if self.diagnosis is not None and self.findings and self.diagnosis.remedy is not None:
            helper = self.diagnosis.remedy
            lines += ["", "do this:", *(f"  {line}" for line in helper.code.splitlines())]
        for note in self.notes:
            lines += ["", *textwrap.wrap(f"not watched: {note}", WIDTH)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The text, for a notebook."""
        return f"<pre>{escape(str(self))}</pre>"


def _at(finding: Finding) -> str:
    if finding.file is None:
        return ""
    path = os.path.relpath(finding.file)
    shown = finding.file if path.startswith(os.pardir) else path
    return f" at {shown}:{finding.line}"


def _told(finding: Finding, title: str) -> list[str]:
    lines = [f"{title}{_at(finding)}"]
    lines += textwrap.wrap(
        finding.explanation[:1].upper() + finding.explanation[1:],
        WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
    )
    change = f"change: {finding.remedy}"
    return lines + textwrap.wrap(change, WIDTH, initial_indent="  ", subsequent_indent="    ")
