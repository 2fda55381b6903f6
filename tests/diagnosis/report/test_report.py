"""A report is a screen of text whose first line is the verdict."""

import json
from dataclasses import replace
from functools import cache

import pytest

from tests.diagnosis.runs import FIT, GOOD, cases
from torchmlp.diagnosis import Report
from torchmlp.diagnosis.report.report import IN_THE_LOOP
from torchmlp.diagnosis.rules.causes import Finding

CASES = {str(case): case for case in cases() if not case.variant}
SOME = [
    "input-non-finite",
    "wrong-gradient",
    "symmetric-init",
    "learning-rate-too-high",
    "log-of-zero",
]


@cache
def report_of(name: str) -> Report:
    return CASES[name].sick.report(remedies=True)


def test_a_healthy_report_is_short() -> None:
    """A line with the score and the steps it took, and a sentence that says where to look next."""
    report = GOOD.report(remedies=True)
    assert str(report).splitlines()[0] == report.verdict
    assert " ".join(str(report).splitlines()[1:]) == IN_THE_LOOP
    assert "torchmlp watch script.py" in IN_THE_LOOP
    assert report.healthy
    assert report.verdict.startswith("healthy")
    assert "accuracy 1.00" in report.verdict
    assert "60 steps" in report.verdict
    assert "R²" in FIT.report().verdict
    assert report.remedy is None


@pytest.mark.parametrize("name", SOME)
def test_a_sick_report_begins_with_its_verdict(name: str) -> None:
    """The first cause and its layer, then a paragraph for every finding with what to do."""
    report = report_of(name)
    lines = str(report).splitlines()
    first = report.findings[0]
    assert not report.healthy
    assert lines[0] == report.verdict
    assert lines[0].startswith("sick: ")
    assert first.cause in lines[0]
    assert (f"layer {first.layer}" in lines[0]) == (first.layer is not None)
    for finding in report.findings:
        assert any(line.startswith(finding.cause) for line in lines[1:])
    assert "remedy" in str(report)


@pytest.mark.parametrize(
    "name", [*SOME, "saturation", "init-too-large", "half-underflow", "too-few-steps"]
)
def test_a_report_fits_on_a_terminal(name: str) -> None:
    """100 columns, no lines that end in blanks, and what was tried beside what was not."""
    lines = str(report_of(name)).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)


def test_a_run_that_broke_says_where() -> None:
    """Step, quantity and function."""
    report = report_of("log-of-zero")
    broken = report.record.nonfinite
    assert broken is not None
    assert f"step {broken.step}" in str(report)
    assert "log" in str(report)


def test_the_remedy_is_the_best_trial_that_helped() -> None:
    """Of those that are a named cause's."""
    report = report_of("symmetric-init")
    assert report.remedy is not None
    assert report.remedy in report.remedies
    assert "symmetric-init" in report.remedy.causes
    assert report.remedy.name in str(report)
    assert all(line in str(report) for line in report.remedy.code.splitlines())


def test_no_remedy_is_named_where_none_helps() -> None:
    """Labels that have nothing to do with the inputs cannot be learned."""
    report = report_of("labels-unrelated")
    assert report.findings
    assert report.remedy is None


@pytest.mark.parametrize("name", SOME)
def test_the_json_holds_what_the_text_says(name: str) -> None:
    """Verdict, findings, remedies and record."""
    report = report_of(name)
    values = json.loads(report.to_json())
    assert values["healthy"] is False
    assert values["verdict"] == report.verdict
    assert [finding["cause"] for finding in values["findings"]] == [
        finding.cause for finding in report.findings
    ]
    assert len(values["remedies"]) == len(report.remedies)
    assert values["record"] == json.loads(report.record.to_json())
    assert values["remedy"] == (report.remedy.name if report.remedy else None)


def test_a_finding_is_a_line() -> None:
    """Cause, place, explanation."""
    finding = Finding("saturation", 2, "z", 0, {}, "All is flat.", "Draw anew.")
    assert str(finding) == "saturation, layer 2: All is flat."
    assert str(replace(finding, layer=None)) == "saturation: All is flat."


def test_a_finding_holds_where_the_mistake_stands() -> None:
    """File and line in the JSON, null where nobody knows them."""
    finding = Finding("saturation", 2, "z", 0, {}, "All is flat.", "Draw anew.")
    placed = replace(finding, file="train.py", line=7)
    report = replace(report_of(SOME[0]), findings=[finding, placed])
    found = json.loads(report.to_json())["findings"]
    assert [(item["file"], item["line"]) for item in found] == [(None, None), ("train.py", 7)]
