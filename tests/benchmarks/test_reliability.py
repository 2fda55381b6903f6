"""A small number of what benchmarks/reliability does at length."""

import subprocess
import sys
from pathlib import Path

import pytest

import torchmlp

SCRIPTS = Path(torchmlp.__file__).parents[1] / "benchmarks" / "reliability"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words"),
    [("corrupt.py", ("--flips", "200")), ("command_lines.py", ("--inputs", "12"))],
    ids=["files", "command lines"],
)
def test_nothing_passes_and_nothing_breaks(
    tmp_path: Path, script: str, words: tuple[str, ...]
) -> None:
    """Other files and lines than those of the committed result: no damaged file is accepted against
    a checksum, no traceback, no hang, no word lost."""
    if not SCRIPTS.is_dir():
        pytest.skip("the benchmarks are not where the package is: it is installed")
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, *words, "--seed", "1", "--output", tmp_path / "a.csv"],
        capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").count("\n") > 3
