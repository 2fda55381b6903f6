import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.command_line import NO_SUMMARY, SMALL, newest_run, run
from torchmlp.lightning.checkpoints.files import find_checkpoint
from torchmlp.lightning.engine_adapter import EngineAdapter

# Nothing random but the order of the batches, which is a function of seed and epoch.
STEADY = (
    *SMALL,
    *("--model.dropout", "0", "--model.input_dropout", "0", "--data.max_shift", "0"),
    *("--lr_scheduler", "ConstantLR", "--lr_scheduler.factor", "1"),
)


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    """The weights in the newest run's last checkpoint."""
    path = find_checkpoint("last", newest_run(folder).parent)
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def test_two_and_two_epochs_are_four(tmp_path: Path) -> None:
    """`fit --ckpt_path` goes on as if nothing had been: the same figures epoch by epoch, the same
    weights bit for bit, the same test accuracy."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    once = run(whole, *STEADY, "--max_epochs", 4)
    assert run(parts, *STEADY, "--max_epochs", 2).code == 0
    resumed = run(parts, "fit", *STEADY, "--max_epochs", 4, "--ckpt_path", "last")
    assert resumed.code == 0, resumed.err

    def lines(text: str) -> list[str]:
        """The epochs without their seconds, and the test figures."""
        return re.findall(r"^epoch [23]  .*_accuracy \S+|^test .*", text, re.MULTILINE)

    assert len(lines(once.out)) == 4
    assert lines(resumed.out) == lines(once.out)
    expected, found = weights_in(whole), weights_in(parts)
    assert expected.keys() == found.keys()
    assert all(found[name].equal(expected[name]) for name in expected)


def test_a_resumed_run_has_a_folder_of_its_own(own_run: Path) -> None:
    """The run it goes on from is left as it was."""
    before = {path: path.stat().st_mtime_ns for path in own_run.rglob("*") if path.is_file()}
    words = (*SMALL, "--max_epochs", 3, "--ckpt_path", "last")
    result = run(own_run, "fit", *words)
    assert result.code == 0, result.err
    assert newest_run(own_run).name == "version_1"
    assert re.findall(r"^epoch (\d)", result.out, re.MULTILINE) == ["2"]
    after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before


def test_a_finished_run_has_nothing_to_go_on_with(own_run: Path) -> None:
    """Resumed without more epochs it says so, and what to give; nothing is trained."""
    result = run(own_run, "fit", *SMALL, "--max_epochs", 2, "--ckpt_path", "last")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        "error: checkpoint of a finished run: 2 epochs are done, and --trainer.max_epochs is 2; "
        "to go on give more of them, as in --trainer.max_epochs 4\n"
    )


def test_another_optimizer_is_a_usage_error(own_run: Path) -> None:
    """Adam cannot go on from the state of SGD."""
    words = (*SMALL, "--max_epochs", 3, "--optimizer", "Adam", "--ckpt_path", "last")
    result = run(own_run, "fit", *words)
    assert (result.code, result.out) == (2, "")
    assert "another optimizer: the run had SGD, and this one has Adam" in result.err


RANDOM = (
    *("--data.source", "embedded", "--batch_size", 450, "--hidden", 8, "--seed", 3),
    *("--data.max_shift", 2, "--data.elastic_alpha", 30, "--data.elastic_sigma", 5),
    *("--data.max_rotation", 5, "--data.max_scale", 0.1),
    *("--max_epochs", 3, "--trainer.enable_model_summary", "false"),
    *("--trainer.log_every_n_steps", 3),
)


class KilledError(RuntimeError):
    pass


def test_a_killed_run_goes_on_as_it_would_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout and shifts, killed in the second epoch and resumed from last.ckpt with no flag
    but the checkpoint: weights, batches and rows are those of the run that was left alone."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    assert run(whole, *RANDOM).code == 0
    step = EngineAdapter.step
    steps: list[int] = []

    def killed(self: EngineAdapter, batch: Any) -> Any:
        steps.append(len(steps))
        if len(steps) == 15:
            raise KilledError
        return step(self, batch)

    monkeypatch.setattr(EngineAdapter, "step", killed)
    with pytest.raises(KilledError):
        run(parts, *RANDOM)
    # Of another seed, batch size and shift by their defaults; the length is the user's to give.
    words = (*RANDOM[:2], *NO_SUMMARY, "--max_epochs", 3, "--trainer.log_every_n_steps", 3)
    resumed = run(parts, "fit", *words, "--ckpt_path", "last")
    assert resumed.code == 0, resumed.err
    expected, found = weights_in(whole), weights_in(parts)
    assert all(found[name].equal(expected[name]) for name in expected)
    rows = [
        (folder / f"lightning_logs/version_{version}/metrics.csv").read_text().splitlines()
        for folder, version in ((whole, 0), (parts, 1))
    ]
    assert rows[1] == [rows[0][0], *(row for row in rows[0][1:] if int(row.split(",")[1]) >= 10)]


@pytest.mark.parametrize("epochs", [3, 5])
def test_a_cycle_goes_on_at_its_new_length(own_run: Path, epochs: int) -> None:
    """The default schedule asks the resumed run how long it is: the rate ends at nearly nothing."""
    words = ("fit", *SMALL, "--max_epochs", epochs, "--ckpt_path", "last")
    assert run(own_run, *words).code == 0
    path = find_checkpoint("last", own_run / "lightning_logs")
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["global_step"] == 9 * epochs
    (schedule,) = checkpoint["lr_schedulers"]
    assert schedule["last_epoch"] == 9 * epochs
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] < 1e-4
