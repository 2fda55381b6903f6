from pathlib import Path

import pytest

from tests.cli.command_line import run
from torchmlp.cli.help import HELP
from torchmlp.cli.parsing.arguments import COMMANDS, SHORT_FLAGS


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_printed(tmp_path: Path, word: str) -> None:
    """It is what a caller gets, on stdout, with exit code 0."""
    assert run(tmp_path, word) == (0, HELP, "")


def test_help_is_one_screen() -> None:
    """At most 30 lines, nine of them command lines to copy, with every command and short flag."""
    lines = HELP.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith("  python train.py") for line in lines) == 9
    commands = HELP.partition("Commands:")[2].partition("\n\n")[0]
    assert all(command in commands for command in COMMANDS)
    for short, long in SHORT_FLAGS.items():
        assert any(short in line and long in line for line in lines), short
    assert "0 done, 1 failed, 2 usage, 3 numerically sick, 130 Ctrl-C, 143 SIGTERM" in HELP


OWN_HELP = ("verify", "diagnose", "map", "report")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in OWN_HELP])
def test_every_command_has_its_own_help(tmp_path: Path, command: str) -> None:
    """With every option of LightningCLI, and no checkpoint needed; those without have their own."""
    code, out, err = run(tmp_path, command, "--help")
    assert (code, err) == (0, "")
    for option in ("--config", "--seed_everything", "--trainer.max_epochs", "--model", "--data"):
        assert option in out
