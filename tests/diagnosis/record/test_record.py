"""A record is text and numbers: written, read again, and judged as before."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.diagnosis.runs import FIT, GOOD, Case, cases
from torchmlp.diagnosis import Report
from torchmlp.diagnosis.record.record import (
    ADDED,
    Design,
    LayerSample,
    NonFinite,
    Record,
    Sample,
    Trial,
    plain,
)

CASES = {str(case): case for case in cases()}
SOME = ["input-non-finite", "log-of-zero", "unstable-activation", "init-too-small", "oscillation"]


@cache
def record_of(name: str) -> Record:
    """The record of a sick run, few steps of it."""
    case: Case = CASES[name]
    return replace(case.sick, steps=20).report().record


def strict(text: str) -> Any:
    """The JSON, in which nan and infinity are no numbers."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", SOME)
def test_a_record_is_read_as_it_was_written(name: str) -> None:
    """Number for number, nan and None included; written again, the same text."""
    record = record_of(name)
    again = Record.from_json(record.to_json())
    assert repr(again) == repr(record)
    assert again.to_json() == record.to_json()


@pytest.mark.parametrize("name", SOME)
def test_a_record_is_judged_again_as_it_was(name: str) -> None:
    """From the text alone, without the run."""
    record = record_of(name)
    report, again = Report.of(record), Report.of(Record.from_json(record.to_json()))
    assert repr(again.findings) == repr(report.findings)
    assert again.verdict == report.verdict
    assert again.to_json() == report.to_json()


def test_the_report_of_a_run_is_that_of_its_record() -> None:
    """Nothing is known to it that the record does not hold."""
    report = replace(CASES["dead-units"].sick, steps=20).report()
    again = Report.of(Record.from_json(report.record.to_json()))
    assert report.findings
    assert again.findings == report.findings
    assert again.to_json() == report.to_json()


def test_numbers_that_are_none_are_spelt() -> None:
    """As "nan", "inf" and "-inf", in strict JSON, and read back as themselves."""
    record = Record(
        Design(lr=math.inf, error="nan"),
        losses=[1.0, math.nan, math.inf, -math.inf],
        samples=[Sample(0, [LayerSample(z_mean=math.nan, z_std=None)])],
        nonfinite=NonFinite(3, None, "loss", "exp", "inf", math.inf, None),
        trials=[Trial("changed", ["saturation"], 4, [math.nan], math.nan, {"lr": [0.1]}, "lr = 1")],
    )
    values = strict(record.to_json())
    assert values["losses"] == [1.0, "nan", "inf", "-inf"]
    again = Record.from_json(record.to_json())
    assert math.isnan(again.losses[1])
    assert again.losses[2:] == [math.inf, -math.inf]
    assert again.design.lr == math.inf
    assert again.design.error == "nan"
    assert again.samples[0].layers[0].z_std is None
    assert math.isnan(again.samples[0].layers[0].z_mean or 0)
    assert again.nonfinite == record.nonfinite
    assert again.trials[0].patch == {"lr": [0.1]}


@pytest.mark.parametrize("name", SOME)
def test_json_is_strict(name: str) -> None:
    """The record's and the report's, of runs that broke too."""
    record = record_of(name)
    assert strict(record.to_json()) == plain(asdict(record))
    strict(Report.of(record).to_json())


def without(*path: str) -> Callable[[dict[str, Any]], None]:
    """Take out what stands there."""

    def damage(values: dict[str, Any]) -> None:
        for key in path[:-1]:
            values = values[key]
        del values[path[-1]]

    return damage


def with_value(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    """Put a value there."""

    def damage(values: dict[str, Any]) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        without("design"),
        without("losses"),
        without("design", "loss"),
        without("version"),
        with_value(99, "version"),
        with_value(None, "losses"),
        with_value(["much"], "losses"),
        with_value([None], "losses"),
        with_value(3, "layers"),
        with_value([{}], "layers"),
        with_value(["a layer"], "samples"),
        with_value([], "design"),
    ],
)
def test_a_damaged_record_is_refused(damage: Callable[[dict[str, Any]], None]) -> None:
    """With a ValueError that says so."""
    values = json.loads(Record(Design(), losses=[1.0]).to_json())
    damage(values)
    with pytest.raises(ValueError, match="record"):
        Record.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "nonsense", "{", "[]", "3", "null", '"text"', "{}"])
def test_what_is_no_record_is_refused(text: str) -> None:
    """Whether it is JSON or not."""
    with pytest.raises(ValueError, match="expected a record"):
        Record.from_json(text)


def test_half_a_file_is_refused() -> None:
    """Cut off anywhere."""
    text = Record(Design(), losses=[1.0, 2.0]).to_json()
    for end in range(0, len(text), 23):
        with pytest.raises(ValueError, match="expected a record"):
            Record.from_json(text[:end])


def test_a_record_tells_the_run() -> None:
    """Sizes, rate, optimizer, losses and scores."""
    record = replace(GOOD, steps=20).report(remedies=False).record
    assert record.network == "2-8-3"
    assert (record.design.lr, record.design.optimizer) == (0.3, "SGD")
    assert (record.design.loss, record.design.output) == ("cross_entropy", "identity")
    assert (record.design.batch_size, record.design.steps) == (16, 20)
    assert (record.design.output_shape, record.design.target_shape) == ([16, 3], [16])
    assert len(record.losses) == len(record.same_batch_loss_ratio) == 20
    assert [sample.step for sample in record.samples][:3] == [0, 1, 2]
    assert record.samples[-1].step == 19
    assert all(len(sample.layers) == 2 for sample in record.samples)
    assert record.score is not None
    assert record.score_start is not None
    assert record.score > record.score_start
    assert replace(FIT, steps=20).report().record.network == "2-16-1"


def test_the_gradients_of_a_record_are_checked() -> None:
    """Hand-written ones that are right, against central differences."""
    record = replace(CASES["wrong-gradient"].twin, steps=2).report().record
    errors = [layer.gradient_error for layer in record.layers]
    assert all(error is not None and error < 1e-6 for error in errors)


def leaves(value: Any, *but: str) -> list[str]:
    """All values, in order, but those of some keys."""
    if isinstance(value, dict):
        return [leaf for key, v in value.items() if key not in but for leaf in leaves(v, *but)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item, *but)]
    return [repr(value)]


def test_a_report_of_version_1_is_read() -> None:
    """What an earlier release wrote is judged as it was, and written in today's names."""
    text = Path(__file__).with_name("version_1.json").read_text(encoding="utf-8")
    old = json.loads(text)
    report = Report.from_json(text)
    assert old["schema"] == "torchmlp.diagnosis/1"
    assert [f.cause for f in report.findings] == [f["cause"] for f in old["findings"]]
    new = json.loads(report.to_json())
    assert new["schema"] == "torchmlp.diagnosis/2"
    assert new["record"]["design"]["lr"] == old["record"]["design"]["rate"] == 300
    assert new["record"]["targets"]["ridge"] == old["record"]["targets"]["linear"]
    saturated = [s["layers"][0]["saturated"] for s in new["record"]["samples"]]
    assert saturated == [s["layers"][0]["blocked"] for s in old["record"]["samples"]]
    assert leaves(new["record"], "version", *ADDED) == leaves(old["record"], "version")
