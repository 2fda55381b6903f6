"""`train.py diagnose` and `train.py report`, as a user meets them."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests import ROOT
from tests.cli.command_line import NO_SUMMARY, SMALL, Result, newest_run, run

BUDGET = ("--budget", 600)  # the machine that tests run on is a busy one
STEPS = ("--steps", 30, *BUDGET)
# Trains well in thirty steps of five hundred digits; and so high a rate that it cannot.
WELL = (
    *SMALL,
    "--hidden",
    "32",
    "--lr",
    "0.3",
    "--lr_scheduler",
    "ConstantLR",
    "--model.dropout",
    0,
    "--model.input_dropout",
    0,
)
SICK = (*WELL, "--lr", 3000)


def test_a_healthy_run_is_a_line_and_0(tmp_path: Path) -> None:
    """The verdict, with the score; where to look next; then where the page lies."""
    code, out, err = run(tmp_path, "diagnose", *WELL, *STEPS)
    assert (code, err) == (0, "")
    verdict, *loop, where = out.splitlines()
    assert "torchmlp watch script.py" in " ".join(loop)
    assert verdict.startswith("healthy: nothing was found; accuracy 0.")
    assert where == "diagnosis lightning_logs/version_0 (diagnosis.html, diagnosis.json)"
    report = json.loads((newest_run(tmp_path) / "diagnosis.json").read_text(encoding="utf-8"))
    assert (report["healthy"], report["findings"]) == (True, [])


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder in which a sick run was diagnosed, and what was said. Do not write into it."""
    folder = tmp_path_factory.mktemp("diagnosed")
    return folder, run(folder, "diagnose", *SICK, *STEPS, "--fix")


def test_a_sick_run_is_told_and_mended(diagnosed: tuple[Path, Result], tmp_path: Path) -> None:
    """Exit code 3, the verdict first; --fix writes a configuration that fit takes and learns by."""
    folder, (code, out, err) = diagnosed
    assert (code, err) == (3, "")
    lines = out.splitlines()
    assert lines[0] == "sick: learning-rate-too-high"
    assert max(map(len, lines)) <= 110
    remedy = newest_run(folder) / "remedy.yaml"
    patch = yaml.safe_load(remedy.read_text(encoding="utf-8"))
    assert patch["optimizer"]["init_args"]["lr"] < 300
    assert lines[-1].endswith(f"--config {remedy.relative_to(folder)}")
    again = (*SMALL, "--hidden", 32, "--lr_scheduler", "ConstantLR", "--model.dropout", 0)
    result = run(tmp_path, *again, "--max_epochs", 3, "--config", remedy)
    assert result.code == 0, result.err
    accuracy = float(result.out.partition("test accuracy ")[2].split()[0])
    assert accuracy > 0.5


def test_report_says_the_same_without_training(
    diagnosed: tuple[Path, Result], tmp_path: Path
) -> None:
    """The saved record is judged again: the same text, the same exit code, the page drawn anew."""
    folder, first = diagnosed
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    page = newest_run(tmp_path) / "diagnosis.html"
    page.unlink()
    again = run(tmp_path, "report", "lightning_logs/version_0")
    assert again.code == first.code == 3
    said, _, where = again.out.strip().rpartition("\n")
    assert first.out.startswith(said)
    assert where == "page lightning_logs/version_0/diagnosis.html"
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_fit_leaves_a_record_to_report(tmp_path: Path) -> None:
    """A watched run's diagnosis stands in its folder; `--health false` leaves none."""
    assert run(tmp_path, *WELL).code == 0
    assert run(tmp_path, "report", newest_run(tmp_path)).code in (0, 3)
    assert run(tmp_path, *WELL, "--health", "false").code == 0
    assert not (newest_run(tmp_path) / "diagnosis.json").exists()


def test_origin_is_told_what_is_wrong_with_it(tmp_path: Path) -> None:
    """Its faults, by name, layer and number, and a remedy as this package's classifier."""
    config = ROOT / "configs" / "origin.yaml"
    code, out, _ = run(
        tmp_path, "diagnose", "--config", config, "--steps", 20, "--fix", *NO_SUMMARY, *BUDGET
    )
    assert code == 3
    text = " ".join(out.split())
    assert out.startswith("sick: init-not-centred in layer 1\nthe first inf is in loss at step 1")
    for said in (
        "mean / std 1.73",
        "100 % of the units are saturated",
        "unstable-softmax, layer 2",
        "limit 710",
        "reported-loss-differs",
    ):
        assert said in text
    patch = yaml.safe_load((newest_run(tmp_path) / "remedy.yaml").read_text(encoding="utf-8"))
    assert patch["model"]["class_path"] == "torchmlp.Classifier"
    assert patch["model"]["init_args"]["activation"] == "relu"
    assert patch["model"]["init_args"]["hidden"] == [1000]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("diagnose", "--steps", "0"), "diagnose: expected --steps of at least 1, got 0"),
        (("diagnose", "--budget", "0"), "--budget: expected seconds above 0, got 0"),
        (("diagnose", "--steps", "many"), "diagnose: argument --steps: invalid int value: 'many'"),
        (("diagnose", "--replay", "gone.pt"), "--replay: expected the broken.pt that a fit left"),
        (("diagnose", "--fixx"), "--fixx"),
        (("diagnose", "--config", "gone.yaml"), "--config: expected a YAML file, found none at"),
        (("report",), "report: expected the folder of a run"),
        (("report", "gone"), "report: expected diagnosis.json, which fit and diagnose write"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_told_in_a_line(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """What came, what was expected; exit code 2, no traceback."""
    code, out, err = run(tmp_path, *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "other"}'])
def test_a_damaged_record_is_said_to_be(tmp_path: Path, text: str) -> None:
    """With its path."""
    (tmp_path / "diagnosis.json").write_text(text, encoding="utf-8")
    code, _, err = run(tmp_path, "report", tmp_path)
    assert code == 2
    assert err.startswith(f"error: report: {tmp_path / 'diagnosis.json'}: expected a report")


def test_schema_is_printed_and_fits(diagnosed: tuple[Path, Result], tmp_path: Path) -> None:
    """`report --schema` is JSON Schema, and names every key that a report has."""
    code, out, _ = run(tmp_path, "report", "--schema")
    assert code == 0
    schema = json.loads(out)
    folder, _ = diagnosed
    report = json.loads((newest_run(folder) / "diagnosis.json").read_text(encoding="utf-8"))
    assert set(report) == set(schema["properties"]) == set(schema["required"])
    finding = schema["properties"]["findings"]["items"]["properties"]
    assert all(set(found) == set(finding) for found in report["findings"])
    trial = schema["properties"]["remedies"]["items"]["properties"]
    assert all(set(found) == set(trial) for found in report["remedies"])
    layer = schema["$defs"]["Layer"]["properties"]
    assert all(set(found) == set(layer) for found in report["record"]["layers"])
    assert "description" in layer["gain"]
