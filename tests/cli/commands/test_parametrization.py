"""`--model.parametrization mup` on the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.command_line import SMALL, newest_run, run

MUP = (*SMALL, "--model.parametrization", "mup", "--model.base_width", "2")  # 4 times as wide


def last_checkpoint(folder: Path) -> dict[str, Any]:
    """What the newest run saved last."""
    path = newest_run(folder) / "checkpoints" / "last.ckpt"
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def groups_of(folder: Path) -> list[dict[str, Any]]:
    """Its optimizer's parameter groups."""
    groups: list[dict[str, Any]] = last_checkpoint(folder)["optimizer_states"][0]["param_groups"]
    return groups


def test_rates_by_layer(tmp_path: Path) -> None:
    """The default optimizer and schedule run with a rate for the layers of each kind, and a resumed
    run goes on with them."""
    assert run(tmp_path, *MUP, "--lr", "0.2").code == 0
    peaks = [0.2, 0.8, 0.05]
    groups = groups_of(tmp_path)
    assert [group["initial_lr"] for group in groups] == pytest.approx(peaks)
    assert [group["lr"] / groups[0]["lr"] for group in groups] == pytest.approx([1, 4, 1 / 4])
    assert last_checkpoint(tmp_path)["lr_schedulers"][0]["base_lrs"] == pytest.approx(peaks)
    more = ("fit", *MUP, "--lr", "0.2", "--max_epochs", 2, "--ckpt_path", "last")
    result = run(tmp_path, *more)
    assert result.code == 0, result.err
    assert last_checkpoint(tmp_path)["global_step"] == 18
    groups = groups_of(tmp_path)
    assert [group["lr"] / groups[0]["lr"] for group in groups] == pytest.approx([1, 4, 1 / 4])


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--lr_scheduler", "StepLR", "--lr_scheduler.step_size", "1", "--lr_scheduler.gamma", ".5"),
    ],
    ids=["OneCycle", "StepLR"],
)
def test_another_optimizer(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Adam has factors of its own, under any schedule."""
    result = run(tmp_path, *MUP, "--optimizer", "Adam", "--optimizer.lr", "0.01", *words)
    assert result.code == 0, result.err
    groups = groups_of(tmp_path)
    assert [group["initial_lr"] for group in groups] == pytest.approx([0.01, 0.0025])
    assert groups[1]["lr"] / groups[0]["lr"] == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--model.parametrization", "mupp"), "did you mean 'mup'?"),
        (("--model.base_width", "0"), "base_width of at least 1"),
        (("--optimizer", "Rprop"), "mup is known for SGD, Adam"),
    ],
)
def test_refusals(tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    """A usage error that says what was expected."""
    result = run(tmp_path, *MUP, *words)
    assert result.code == 2
    assert text in result.err


@pytest.mark.slow
def test_diagnose(tmp_path: Path) -> None:
    """The diagnosis runs the network with its rates and finds nothing wrong with them."""
    result = run(tmp_path, "diagnose", *MUP, "--hidden", 64, "--model.base_width", 16)
    assert result.code == 0, result.out + result.err
    (record,) = tmp_path.rglob("diagnosis.json")
    assert json.loads(record.read_text())["record"]["design"]["lr"] == pytest.approx(0.1)
