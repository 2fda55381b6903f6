"""Output that cannot be written."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command_line import TRAIN, newest_run
from torchmlp.cli import main


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", ">/dev/full 2>&1", ">&- 2>&-"])
def test_help_that_nobody_can_read(redirection: str) -> None:
    """A full disk is said in a line and is exit code 1; a closed output is nobody's mistake. Python
    has nothing to add at its end."""
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} {TRAIN} --help {redirection}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == (1 if "full" in redirection else 0)
    said = "error: No space left on device\n" if redirection == ">/dev/full" else ""
    assert (done.stdout, done.stderr) == ("", said)


@pytest.mark.parametrize("words", [["report", "RUN"], ["report", "--schema"], ["verify", "--help"]])
def test_a_full_disk_is_told_in_a_line(
    words: list[str],
    digits_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever was to be printed."""
    words = [str(newest_run(digits_run)) if word == "RUN" else word for word in words]
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        assert main(words) == 1
    assert capsys.readouterr().err == "error: No space left on device\n"
