"""Which command a line names, and how a program is started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import torchmlp
from tests import ROOT
from tests.cli.command_line import run
from torchmlp.cli.commands import COMMANDS


@pytest.mark.parametrize(
    ("word", "hint"), [("ft", "did you mean fit?"), ("tests", "did you mean test?"), ("qqq", "")]
)
def test_an_unknown_command(tmp_path: Path, word: str, hint: str) -> None:
    """The nearest is offered, and all are listed."""
    code, out, err = run(tmp_path, word)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: unknown command {word!r}")
    assert ("did you mean" in err) is bool(hint)
    assert hint in err
    assert err.endswith(f"Commands: {', '.join(COMMANDS)}\n")


def test_no_command_means_fit(tmp_path: Path) -> None:
    """A line that begins with an option is fit's."""
    assert run(tmp_path, "--lr") == run(tmp_path, "fit", "--lr")


def test_the_version(tmp_path: Path) -> None:
    """Of the package, by itself."""
    assert run(tmp_path, "--version") == (0, f"torchmlp {torchmlp.__version__}\n", "")


# What pip writes as the console script does.
SCRIPT = """
import sys
sys.argv[0] = "/usr/bin/torchmlp"
from torchmlp.__main__ import program
program()
"""


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([str(ROOT / "train.py")], "python train.py"),
        (["-m", "torchmlp"], "python -m torchmlp"),
        (["-c", SCRIPT], "torchmlp"),
    ],
    ids=["train.py", "module", "console script"],
)  # fmt: skip
def test_each_way_to_start_it(tmp_path: Path, words: list[str], name: str) -> None:
    """The same program, which names itself as it was started."""
    done = subprocess.run(
        [sys.executable, *words, "map", "--steps"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: map: argument --steps: expected one argument\nAll options: {name} map --help\n"
    )


def test_the_console_script_is_declared() -> None:
    """`pip install` makes torchmlp of the same function."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.scripts]\ntorchmlp = "torchmlp.__main__:program"\n' in project
