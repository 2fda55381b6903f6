"""The script that measures a GPU: its parts end in time, and its rows become README's."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import ROOT

SCRIPTS = ROOT / "benchmarks" / "gpu"
sys.path[:0] = [str(SCRIPTS), str(ROOT / "benchmarks")]

import gpu  # noqa: E402  once its folder is on the path
import gpu_rows  # noqa: E402  once its folder is on the path
import requirements  # noqa: E402  once its folder is on the path


def test_every_part_has_a_command_and_they_fit() -> None:
    """Each part is a script that is there, and none is given more than there is for all."""
    for part in gpu.PARTS:
        words = gpu.words_of(part)
        assert words[0] == sys.executable
        assert part == "tests" or Path(words[1]).exists()
    assert gpu.WHOLE_S < 360
    assert max(gpu.PARTS.values()) < gpu.WHOLE_S


def test_the_files_with_gpu_tests_are_found() -> None:
    """Those that take the fixture `gpu`, over one line or several, and no others."""
    found = gpu.gpu_tests()
    assert "tests/engine/steps/test_cuda_graph.py" in found
    assert "tests/data/batches/test_device.py" in found
    assert "tests/engine/test_streams.py" not in found


def test_a_part_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it has started; the next part is told nothing of it."""
    hangs = "import subprocess; subprocess.run(['sleep', '60'])"
    monkeypatch.setattr(gpu, "words_of", lambda _: [sys.executable, "-c", hangs])
    start = time.monotonic()
    assert gpu.run("step", 0.5) == "ended after 0 s; what it had measured is kept"
    assert time.monotonic() - start < 30


def test_what_became_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told how many seconds it has, and its exit code is told."""
    looks = "import os, sys; sys.exit(int(float(os.environ['GPU_SECONDS'])))"
    monkeypatch.setattr(gpu, "words_of", lambda _: [sys.executable, "-c", looks])
    assert gpu.run("step", 2 * gpu.SPARE_S + 5) == "exit code 5"
    monkeypatch.setattr(gpu, "words_of", lambda _: [sys.executable, "-c", ""])
    assert gpu.run("step", 60) == "done"


def test_rows_become_markdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column for each provider in multiples of the baseline, whose own time is given; a row that
    is measured again replaces the older one."""
    monkeypatch.setattr(gpu_rows, "FOLDER", tmp_path)
    monkeypatch.setattr("on_device.name", lambda: "some GPU")
    for slow in (9.0, 3.0):
        seconds = {"floor": [1e-6, 1e-6], "engine": [slow * 1e-6, slow * 1e-6]}
        rows = gpu_rows.timed_rows("4-3-2", 8, "SGD", seconds, "floor")
        gpu_rows.keep("step", rows, ("network", "batch", "optimizer", "provider"))
    assert gpu_rows.markdown().splitlines() == [
        "| network, batch, optimizer | floor | engine |",
        "| --- | --- | --- |",
        "| 4-3-2, 8, SGD | 1.0 us | 3.0 |",
    ]
    assert "some GPU" in (tmp_path / "gpu_step.csv").read_text("utf-8")


def test_what_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what it serves, where no wheel of it is to be had; without torch nothing goes on."""
    monkeypatch.setattr(requirements, "SERVES", {"torchmlp-of-nobody": "tests"})
    monkeypatch.setattr(sys, "argv", ["requirements.py", str(tmp_path)])
    monkeypatch.setenv("WHEELS", str(tmp_path))
    requirements.main()
    assert "MISSING torchmlp-of-nobody, left out with it: tests" in capsys.readouterr().out
    monkeypatch.setattr(requirements, "NEEDED", ("torch-of-nobody",))
    with pytest.raises(SystemExit, match=r"^expected torch-of-nobody to be installed: set PYTHON"):
        requirements.main()


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names the rehearsal."""
    none: subprocess.CompletedProcess[str] = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: none)
    with pytest.raises(SystemExit, match=r"^expected a CUDA device, .* try it out with --rehearse"):
        gpu.look()


@pytest.mark.slow
def test_a_rehearsed_part(tmp_path: Path) -> None:
    """The engine takes the step that it takes on a GPU; the table and README's rows are there."""
    words = ["bash", str(SCRIPTS.parent / "gpu.sh"), "--rehearse", "--parts", "weights"]
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "gpu_weights.csv").read_text("utf-8")
    rows = table.count("as the CPU's")
    assert rows == table.count("\n") - 1 == table.count("a CUDA graph of torch's operators") > 0
    assert (tmp_path / "gpu.md").read_text("utf-8").strip() in done.stdout
