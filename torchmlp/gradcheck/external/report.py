"""What verify says of one file: as text, as JSON, as HTML in a notebook."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from textwrap import fill
from typing import Any

from torchmlp.gradcheck.explain.mistakes import Mistake
from torchmlp.gradcheck.external.judge import Line, Verdict

SCHEMA = "torchmlp.verify/1"


@dataclass
class VerifyReport:
    """The verdict on a hand-written network.

    Attributes:
        source: FILE.py:NAME, or the function's name.
        verdict: "right", "wrong", or "not judged" where it could not be called.
        network: what it computes: activations, output, loss, regularisation.
        called: how it was called: functions in their order, layouts.
        lines: for each batch and shape tried, which gradients are right.
        mistakes: nearest first, [] if right.
        places: for each mistake, the line of the file that forms the first tensor it shows in, or
            the delta; "" where that was not seen.
        notes: what was allowed for, such as a factor where no loss is reported.
        error: why it was not judged, "" where it was.
    """

    source: str
    verdict: str
    network: str = ""
    called: str = ""
    lines: list[Line] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether every gradient is right."""
        return self.verdict == "right"

    def to_json(self) -> dict[str, Any]:
        """Plain data: the attributes, with a schema's name."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "verdict": self.verdict,
            "network": self.network,
            "called": self.called,
            "shapes": [
                {"samples": line.rows, "widths": line.widths, "right": line.right}
                for line in self.lines
            ],
            "mistakes": [
                asdict(m) | {"parameters": list(m.parameters), "place": place}
                for m, place in zip(self.mistakes, self._places(), strict=True)
            ],
            "notes": self.notes,
            "error": self.error,
        }

    def __str__(self) -> str:
        """The verdict as it is printed."""
        if self.verdict == "not judged":
            return f"{self.source} was not judged: {self.error}"
        lines = [f"{self.source}: {self.network}"]
        lines += [_wrapped(f"called: {self.called}")] if self.called else []
        lines += [f"  {line}" for line in self.lines]
        lines += [_wrapped(f"note: {note}") for note in self.notes]
        if self.ok:
            lines.append(f"{self.source} is right: every gradient, to rounding")
        for m, place in zip(self.mistakes, self._places(), strict=True):
            lines.append(f"\n{m}")
            if place:
                lines.append(f"  in {place}")
        return "\n".join(lines)

    def _places(self) -> list[str]:
        return self.places or [""] * len(self.mistakes)

    def _repr_html_(self) -> str:
        """The same for a notebook, escaped: names in it are other people's."""
        colour = {"right": "#1a7f37", "wrong": "#b42318"}.get(self.verdict, "#7a5c00")
        text = html.escape(str(self))
        return (
            f'<div><strong style="color:{colour}">{html.escape(self.verdict)}</strong>'
            f'<pre style="white-space:pre-wrap">{text}</pre></div>'
        )


def _wrapped(text: str) -> str:
    return fill(text, 100, initial_indent="  ", subsequent_indent="    ", break_long_words=False)


def reported(source: str, verdicts: Sequence[Verdict]) -> VerifyReport:
    """One report of the parts of one network."""
    report = VerifyReport(source, "right")
    networks = []
    for verdict in verdicts:
        part = verdict.probe.part
        networks.append(f"{part}: {verdict.network}" if part else verdict.network)
        report.lines += verdict.lines
        report.mistakes += verdict.mistakes
        report.places += [_place(m, verdict.probe.lines) for m in verdict.mistakes]
        report.notes += [note for note in verdict.notes if note not in report.notes]
        if verdict.probe.where:
            raised = f"{verdict.probe.where} raises {verdict.probe.raised}"
            report.notes.append(f"{raised} where the layers' sizes differ")
    first = verdicts[0].probe
    report.called = f"{first.calls}; {first.layout}"
    report.network = "; ".join(dict.fromkeys(networks))
    if any(verdict.probe.where for verdict in verdicts) or report.mistakes:
        report.verdict = "wrong"
    return report


# Mistakes in a delta: the line that forms it is the one to look at.
_IN_DELTA = (
    "missing-activation-derivative", "derivative-at-activation", "wrong-mask",
    "missing-output-derivative", "doubled-output-derivative", "other-loss", "softmax-wrong-axis",
)  # fmt: skip


def _place(found: Mistake, lines: Mapping[str, str]) -> str:
    """The line that forms the delta, or the gradient, that a mistake shows in first."""
    layers = [int(name[1:]) for name in found.parameters if name[1:].isdigit()]
    layer = found.layer or (max(layers) if layers else 0)
    delta = f"δ{layer - (found.name == 'weight-not-transposed')}"
    in_delta = found.name in (*_IN_DELTA, "weight-not-transposed")
    if in_delta and delta in lines:
        return lines[delta]
    if found.name == "weight-already-updated" and f"W{layer}" in lines:
        return lines[f"W{layer}"]
    return next((lines[name] for name in found.parameters if name in lines), "")


def to_text(reports: Sequence[VerifyReport]) -> str:
    """JSON: one object for one report, a list of them for several."""
    data: Any = [r.to_json() for r in reports]
    return json.dumps(data[0] if len(reports) == 1 else data, indent=1, ensure_ascii=False) + "\n"
