import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.cli.command_line import SMALL, TRAIN, newest_run, run, start, wait_for
from torchmlp.lightning.checkpoints.files import INTERRUPTED

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("number", "code", "cause"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_an_interrupted_run_can_go_on(
    tmp_path: Path, number: signal.Signals, code: int, cause: str
) -> None:
    """Ctrl-C and SIGTERM: their own exit codes, no traceback, a checkpoint of all steps taken, and
    the command line that goes on with it, which works."""
    process = start(tmp_path, *SMALL, "--batch_size", 32, "--max_epochs", 10_000)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch 0")
    process.send_signal(number)
    result = wait_for(process)
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    ((said, saved),) = re.findall(r"^(\w+); saved (\S+)$", result.err, re.MULTILINE)
    assert said == cause
    assert Path(saved).name == INTERRUPTED
    checkpoint = torch.load(tmp_path / saved, weights_only=True)
    steps, epoch = checkpoint["global_step"], checkpoint["epoch"]
    assert steps >= 141
    (line,) = re.findall(r"^go on with: python train.py (.*)$", result.err, re.MULTILINE)
    words = [*SMALL, "--batch_size", 32, "--max_epochs", epoch + 2]
    resumed = run(tmp_path, *line.split(), *words)
    assert resumed.code == 0, resumed.err
    last = torch.load(newest_run(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 141 * (epoch + 2)


def test_an_interrupt_before_training(tmp_path: Path) -> None:
    """There is nothing to save, and nothing but a line to read."""
    process = start(tmp_path, *SMALL)
    process.send_signal(signal.SIGINT)  # while Python imports
    result = wait_for(process)
    assert result.code in (130, -signal.SIGINT)  # the latter before train.py has begun
    if result.code == 130:
        assert "Traceback" not in result.err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """`python train.py | head -1`: no traceback, whatever is left of the run."""
    words = " ".join([sys.executable, str(TRAIN), *SMALL, "--max_epochs", "30"])
    done = subprocess.run(
        ["bash", "-c", f"{words} | head -1"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.startswith("epoch 0")
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_exit_codes_reach_the_caller(tmp_path: Path) -> None:
    """train.py hands on what main returns: 2 for a mistake, 3 for a sick run."""
    assert wait_for(start(tmp_path, "ft")).code == 2
    sick = wait_for(start(tmp_path, *SMALL, "--lr", "1e20", "--lr_scheduler", "ConstantLR"))
    assert (sick.code, "Traceback" in sick.err) == (3, False)


TWO = (
    *("--accelerator", "cpu", "--devices", 2, "--trainer.strategy", "ddp", "--batch_size", 32),
    *("--data.source", "embedded", "--hidden", 16, "--trainer.enable_model_summary", "false"),
)


def started_on_two(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A run of two processes that has trained an epoch, and its second process."""
    process = start(folder, *TWO, "--max_epochs", 10_000)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch 0")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (second,) = [int(child) for child in children]
    return process, second


@pytest.mark.parametrize(
    ("to_all", "number", "code"),
    [(True, signal.SIGINT, 130), (False, signal.SIGINT, 130), (False, signal.SIGTERM, 143)],
    ids=["Ctrl-C", "SIGINT to the first", "SIGTERM to the first"],
)
def test_two_processes_end_together(
    tmp_path: Path, to_all: bool, number: signal.Signals, code: int
) -> None:
    """Both end after the same batch, whichever heard of it, and leave a checkpoint."""
    process, second = started_on_two(tmp_path)
    for one in (process.pid, second) if to_all else (process.pid,):
        os.kill(one, number)
    result = wait_for(process, 60)
    assert result.code == code, result.err
    ((saved, again),) = re.findall(r"^\w+; saved (\S+)\n(.*)\n$", result.err)
    assert again.startswith("go on with: ")
    checkpoint = torch.load(tmp_path / saved, weights_only=True)
    assert checkpoint["global_step"] >= 71
    assert len(checkpoint["torchmlp"]["processes"]) == 2


@pytest.mark.parametrize("victim", ["first", "second"])
def test_a_process_that_dies_is_one_line(tmp_path: Path, victim: str) -> None:
    """The other ends too, with one line of what has happened."""
    process, second = started_on_two(tmp_path)
    os.kill(process.pid if victim == "first" else second, signal.SIGKILL)
    result = wait_for(process, 60)
    if victim == "first":
        assert result.code == -signal.SIGKILL
        assert result.err == "error: process 0 of 2 (from 0) has ended, and the others with it\n"
    else:
        assert result.code == 1
        assert result.err == (
            "error: process 1 of 2 (from 0) was ended by SIGKILL, and the others with it\n"
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_other_moment(tmp_path: Path, number: signal.Signals) -> None:
    """While Python imports, and while the data are loaded or the weights tested: its exit code,
    and no traceback."""
    for words, until in (
        (("map", *SMALL[:2]), 1.0),
        (("fit", *SMALL), 5.0),
        (("diagnose", *SMALL[:2]), 7.0),
    ):
        process = start(tmp_path, *words, *("--steps", "100000") * (words[0] != "fit"))
        with suppress(subprocess.TimeoutExpired):
            process.wait(until)
        running = process.poll() is None
        process.send_signal(number)
        result = wait_for(process)
        assert result.code == (128 + number if running else 0), result.err
        assert "Traceback" not in result.err


def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    """Data parallel over two processes with batches of 32: the weights of one process with
    batches of 64, up to rounding; one run folder, one report."""
    common = [
        *("--accelerator", "cpu", "--precision", "64-true", "--data.source", "embedded"),
        *("--hidden", "16", "--model.dropout", "0", "--model.input_dropout", "0", "--seed", "3"),
        *("--data.max_shift", "0", "--trainer.max_steps", "20"),
        *("--trainer.enable_model_summary", "false"),
    ]
    weights = []
    for name, words in (
        ("one", ["--batch_size", 64, "--devices", 1]),
        ("two", ["--batch_size", 32, "--devices", 2, "--trainer.strategy", "ddp"]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        result = wait_for(start(folder, *common, *words))
        assert result.code == 0, result.err
        assert len(re.findall(r"^test accuracy", result.out, re.MULTILINE)) == 1
        assert [p.name for p in (folder / "lightning_logs").iterdir()] == ["version_0"]
        path = folder / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["global_step"] == 20
        weights.append(checkpoint["state_dict"])
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=0, atol=1e-6)
