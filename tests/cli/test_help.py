from pathlib import Path

import pytest

from tests.cli.command_line import run
from torchmlp.cli.commands import COMMANDS
from torchmlp.cli.help import overview
from torchmlp.cli.parsing.arguments import SHORT_FLAGS

CONFIGURED = ("fit", "validate", "test", "predict")


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_one_screen(tmp_path: Path, word: str) -> None:
    """On stdout, at most 40 lines of 80 columns, with every command and short flag."""
    code, out, err = run(tmp_path, word)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) < 80
    for command in COMMANDS.values():
        assert f"  {command.name:<10} {command.summary}" in lines
    for short, long in SHORT_FLAGS.items():
        assert any(line.startswith(f"  {short} ") and line.endswith(long) for line in lines)
    assert "Exit codes: 0 done, 1 failed, 2 usage, 3 numerically sick, 130 Ctrl-C," in lines


def test_the_overview_is_made_from_the_table() -> None:
    """A command that is added is in it."""
    assert "report" not in overview([COMMANDS["fit"]])
    assert "report" in overview(COMMANDS.values())


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_own_help(
    tmp_path: Path, command: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 80 columns, the list of all options within the terminal; no checkpoint needed."""
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = run(tmp_path, command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"python train.py {command} " if command != "fit" else "python train.py")
    introduction, _, rest = out.partition("All options\n")
    # Also where the program is called python -m torchmlp.
    named = introduction.replace("python train.py", "python -m torchmlp")
    assert max(map(len, named.splitlines())) < 80
    assert max(map(len, rest.splitlines()), default=0) < max(columns, 61)
    if command in CONFIGURED:
        for option in ("--config", "--seed_everything", "--trainer.max_epochs", "--data.root"):
            assert f"  {option}" in rest


def test_fit_opens_with_what_people_want(tmp_path: Path) -> None:
    """Ten options before all others, with the values that the command line really has."""
    out = run(tmp_path, "fit", "--help").out
    first = [
        line.split()[0]
        for line in out.partition("All options")[0].splitlines()
        if line[:4] == "  --"
    ]
    assert first == [
        *("--config", "--accelerator", "--max_epochs", "--lr", "--batch_size", "--hidden"),
        *("--activation", "--data_root", "--ckpt_path", "--seed"),
    ]
    assert "--trainer.max_epochs (default: 20)" in out
    assert "--model.dropout (default: 0.3)" in out
