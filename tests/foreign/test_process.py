"""Other people's code hangs, exits, forks and eats memory in a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import ROOT
from torchmlp.foreign.process import Asking

RIGHT = """
import numpy as np
def gradients(x, y, W, b):
    delta = (x @ W + b - y) / len(x)
    return 0.5 * ((x @ W + b - y) ** 2).sum() / len(x), x.T @ delta, delta.sum(0)
"""


def asked(folder: Path, source: str, seconds: float = 20.0) -> tuple[str, int]:
    """What is said of a file with this source, and how many ways of calling it were found."""
    (folder / "net.py").write_text(source, encoding="utf-8")
    findings = Asking(folder / "net.py", None, None, seconds).findings()
    return findings.error, len(findings.probes)


def test_a_file_is_asked(tmp_path: Path) -> None:
    """A right file gives its probes, as plain data."""
    error, probes = asked(tmp_path, RIGHT)
    assert error == ""
    assert probes >= 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import os; os._exit(3)", "its code ended the process, with exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
    ],
    ids=["exit", "crash"],
)
def test_ends(line: str, said: str, tmp_path: Path) -> None:
    """Code that ends its process ends nobody else's."""
    error, _ = asked(tmp_path, RIGHT.replace("    delta", f"    {line}\n    delta"))
    assert said in error


def test_memory_is_bounded(tmp_path: Path) -> None:
    """An array larger than the limit is a MemoryError of the code's own."""
    source = RIGHT.replace("    delta", "    np.ones(1 << 40)\n    delta")
    (tmp_path / "net.py").write_text(source, encoding="utf-8")
    findings = Asking(tmp_path / "net.py", None, None).findings()
    assert not findings.probes
    assert "MemoryError" in findings.attempts[0].error


@pytest.mark.slow
def test_a_hang_is_stopped(tmp_path: Path) -> None:
    """A loop without end, deaf to every exception, is over soon after the time limit."""
    deaf = "    while True:\n        try:\n            while True: pass\n"
    deaf += "        except Exception: pass\n"
    began = time.monotonic()
    _, probes = asked(tmp_path, RIGHT.replace("    delta", deaf + "    delta", 1), seconds=1.0)
    assert probes == 0
    assert time.monotonic() - began < 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_children_end_with_it(tmp_path: Path) -> None:
    """A child that the code forks is gone once the file has been asked."""
    line = f"import os, time\n    if os.fork() == 0: open({str(tmp_path / 'child')!r}, 'w').write(str(os.getpid())); time.sleep(600)"  # noqa: E501  one line of somebody's
    asked(tmp_path, RIGHT.replace("    delta", f"    {line}\n    delta", 1), seconds=4.0)
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        if (Path(f"/proc/{child}") / "stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{child}").exists()


def test_a_file_that_is_called_like_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random.py in the same folder, and in the current one, is not what numpy imports."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random.py").write_text("raise SystemExit(5)\n", encoding="utf-8")
    error, probes = asked(tmp_path, RIGHT)
    assert (error, probes > 0) == ("", True)


def test_without_torch() -> None:
    """What runs in that process imports numpy alone: numpy's users do not wait for torch."""
    program = "import torchmlp.foreign.__main__, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)
