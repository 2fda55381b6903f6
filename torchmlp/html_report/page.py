"""A diagnosis as a page that needs nothing beside itself."""

import json
import re
from collections.abc import Iterable, Sequence

from torchmlp.diagnosis.record.record import Record, Trial, plain
from torchmlp.diagnosis.report.report import Report
from torchmlp.diagnosis.rules.attribution import UNTOUCHED, is_improvement
from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.figures.diagnosis.captions import illustrations
from torchmlp.figures.diagnosis.loss import ends, unlike
from torchmlp.figures.style.rc import settings
from torchmlp.figures.style.text import NONE, html, short
from torchmlp.html_report.stylesheet import STYLESHEET
from torchmlp.html_report.svg import inline

FOOTER = (
    "<footer><p>The same diagnosis as JSON is in this file, in the element with the identifier "
    "<code>report</code>.</p></footer>"
)
SHOWN = 8  # trials; the others are folded
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def page(report: Report, title: str) -> str:
    """A diagnosis as an HTML document: verdict, findings, what was tried, figures.

    It loads nothing, follows the reader's light or dark scheme, and holds `report.to_json()` in
    the element with the identifier "report".

    Args:
        report: of any run; what its record lacks is left out.
        title: of the page, in plain text.
    """
    title = title.strip() or "Training diagnosis"
    body = "\n".join(
        part
        for part in (
            f'<header><p class="kind">Training diagnosis</p><h1>{html(title)}</h1></header>',
            _verdict(report),
            _facts(report.record),
            _findings(report.findings),
            _tried(report),
            _figures(report),
            FOOTER,
        )
        if part
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html(title)} · {html(report.verdict)}</title>
<style>
{STYLESHEET}
</style>
</head>
<body>
<main>
{body}
</main>
<script type="application/json" id="report">{_embedded(report)}</script>
</body>
</html>
"""


def _embedded(report: Report) -> str:
    """The report's JSON, in which no text can end or open an element."""
    text = report.to_json().replace("<", "\\u003c")
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found.group()):04x}", text)


def _verdict(report: Report) -> str:
    record = report.record
    said = []
    if report.findings:
        said.append(_first_sentence(report.findings[0].explanation))
    if record.design.error:
        said.append(f"The first batch raised: {record.design.error}")
    if record.nonfinite:
        said.append(_broke(record))
    mark = "✓" if report.healthy else "✕"
    state = "healthy" if report.healthy else "sick"
    found = report.findings[0] if report.findings else None
    what = _named(found) if found else report.verdict.partition(":")[2].strip()
    return (
        f'<section class="verdict {state}" aria-label="Verdict"><p class="state">'
        f'<span aria-hidden="true">{mark}</span> {state.capitalize()}</p>'
        f"<div><h2>{html(_capital(what))}</h2>{_paragraphs(said)}</div></section>"
    )


def _broke(record: Record) -> str:
    broken = record.nonfinite
    assert broken is not None
    where = "" if broken.layer is None else f" of layer {broken.layer}"
    by = f", made by {broken.function}" if broken.function else ""
    at = "" if broken.at is None else f" of {short(broken.at)}"
    limit = "" if broken.limit is None else f" (limit {short(broken.limit)})"
    step = f"at step {broken.step:,}"
    return f"The first {broken.value} is in {broken.quantity}{where} {step}{by}{at}{limit}."


def _facts(record: Record) -> str:
    design = record.design
    rate = f", lr {short(design.lr)}" if design.lr else ""
    facts = {
        "network": record.network,
        "loss": design.loss if record.layers or design.loss != "own" else "",
        "optimizer": f"{design.optimizer}{rate}" if design.optimizer else "",
        "batch": f"{design.batch_size:,}" if design.batch_size else "",
        "steps": _steps(record),
        _metric(record): ""
        if record.score is None and record.score_start is None
        else f"{short(record.score_start)} → {short(record.score)}",
    }
    rows = "".join(
        f"<div><dt>{html(name)}</dt><dd>{html(value)}</dd></div>"
        for name, value in facts.items()
        if value
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def _steps(record: Record) -> str:
    done, planned = len(record.losses), record.design.steps
    if not done:
        return ""
    return f"{done:,}" if done >= planned else f"{done:,} of {planned:,}"


def _metric(record: Record) -> str:
    return "R²" if record.targets and record.targets.kind == "numbers" else "accuracy"


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    lines = [
        f'<li><a href="#finding-{k}">{html(_capital(_named(finding)))}</a>: '
        f"{html(_first_sentence(finding.explanation))}</li>"
        for k, finding in enumerate(findings, 1)
    ]
    # The verdict is the line of a lone one.
    overview = f'<ol class="overview">{"".join(lines)}</ol>\n' if len(lines) > 1 else ""
    articles = "\n".join(_finding(k, finding) for k, finding in enumerate(findings, 1))
    heading = "Findings" if len(findings) > 1 else "Finding"
    return f"<section><h2>{heading}</h2>\n{overview}{articles}</section>"


def _finding(number: int, finding: Finding) -> str:
    when = "before the first step" if finding.step == 0 else f"at step {finding.step:,}"
    layer = [] if finding.layer is None else [f"layer {finding.layer}"]
    place = [*layer, f"seen in {finding.quantity}", when]
    if finding.certain:
        place.append("a mistake however the run ends")
    heading = _capital(finding.cause.replace("-", " "))
    symptoms = ", ".join(f"<code>{html(cause)}</code>" for cause in finding.symptoms)
    explains = f'<p><b class="label">Explains</b> {symptoms}</p>' if symptoms else ""
    evidence = "".join(
        f'<tr><th scope="row">{html(name)}</th><td class="number">{short(value)}</td></tr>'
        for name, value in finding.evidence.items()
    )
    table = (
        _box(
            f"Evidence of {finding.cause}", f"<table><caption>Evidence</caption>{evidence}</table>"
        )
        if evidence
        else ""
    )
    return (
        f'<article id="finding-{number}"><div class="told"><h3>{html(heading)}</h3>'
        f'<p class="place"><code>{html(finding.cause)}</code> · {html(" · ".join(place))}</p>'
        f"<p>{html(finding.explanation)}</p>"
        f'<p><b class="label">Remedy</b> {html(finding.remedy)}</p>{explains}</div>{table}'
        "</article>"
    )


def _tried(report: Report) -> str:
    if not report.remedies:
        code = report.findings[0].code if report.findings else ""
        box = _box("Code of the remedy", f"<pre><code>{html(code)}</code></pre>")
        return f"<section><h2>Do this</h2>{box}</section>" if code else ""
    record, best, trials = report.record, report.remedy, _ordered(report)
    base = [_row(t, NONE, is_best=False) for t in record.trials if t.name == UNTOUCHED][:1]
    parts = [
        "<section><h2>Tried</h2>",
        "<p>Each from the same start, on the same batches.</p>",
        _box("Changes tried", _table([*base, *_rows(trials[:SHOWN], report)], record)),
    ]
    if rest := trials[SHOWN:]:
        parts.append(
            f"<details><summary>{len(rest)} more</summary>"
            f"{_box('More changes tried', _table(_rows(rest, report), record))}</details>"
        )
    if best:
        parts.append(_remedy(best))
    elif report.findings:
        parts.append("<p>None of the changes tried has made the run a good one.</p>")
    return "\n".join([*parts, "</section>"])


def _ordered(report: Report) -> list[Trial]:
    """The best first, then by their scores."""
    return unlike([*filter(None, [report.remedy]), *report.remedies])


def _remedy(best: Trial) -> str:
    said = f"<h3>Best: {html(best.name)}</h3>"
    if best.code:
        said += _box("Code of the best change", f"<pre><code>{html(best.code)}</code></pre>")
    if best.patch:
        patch = json.dumps(plain(best.patch), ensure_ascii=False)
        said += "<p>The same as configuration:</p>" + _box(
            "Configuration of the best change", f"<pre><code>{html(patch)}</code></pre>"
        )
    return said


def _rows(trials: Iterable[Trial], report: Report) -> list[str]:
    return [
        _row(
            trial,
            "✓ helped" if is_improvement(trial, report.record) else "did not help",
            is_best=trial is report.remedy,
        )
        for trial in trials
    ]


def _row(trial: Trial, helped: str, *, is_best: bool) -> str:
    first, last = ends(trial.losses)
    name = f"{html(trial.name)} <b>(best)</b>" if is_best else html(trial.name)
    return (
        f'<tr><th scope="row">{name}</th><td>{helped}</td>'
        f'<td class="number">{short(trial.score)}</td>'
        f'<td class="number">{short(first)} → {short(last)}</td>'
        f'<td class="number">{trial.steps:,}</td></tr>'
    )


def _table(rows: Sequence[str], record: Record) -> str:
    head = "".join(
        f'<th scope="col"{kind}>{html(name)}</th>'
        for name, kind in (
            ("change", ""),
            ("helped", ""),
            (_metric(record), ' class="number"'),
            ("loss, first → last tenth", ' class="number"'),
            ("steps", ' class="number"'),
        )
    )
    return (
        f'<table class="wide"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _figures(report: Report) -> str:
    drawn = []
    with settings():
        for shown in illustrations(report.record, _ordered(report)):
            picture = inline(shown.figure, shown.name, shown.numbers)
            drawn.append(
                f'<figure id="figure-{shown.name}"><h3>{html(shown.title)}</h3>{picture}'
                f"<figcaption>{html(shown.caption)}</figcaption></figure>"
            )
    if not drawn:
        return ""
    return f'<section><h2>Measured</h2><div class="figures">{"".join(drawn)}</div></section>'


def _box(name: str, content: str) -> str:
    """What may be wider than the page, and scrolls by itself, with the keyboard too."""
    return f'<div class="box" role="region" tabindex="0" aria-label="{html(name)}">{content}</div>'


def _named(finding: Finding) -> str:
    return finding.cause.replace("-", " ") + (
        "" if finding.layer is None else f" in layer {finding.layer}"
    )


def _first_sentence(text: str) -> str:
    return _SENTENCE.split(text.strip(), maxsplit=1)[0]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _paragraphs(texts: Iterable[str]) -> str:
    return "".join(f"<p>{html(text)}</p>" for text in texts)
