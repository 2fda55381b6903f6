"""`%%watch` over a cell; IPython's part is played by an object of its few methods."""

import builtins
import sys
import types
from typing import Any

import pytest
import torch

import torchmlp


class UsageError(Exception):
    pass


class Compiler:
    def format_code_name(self, name: str) -> tuple[str, str] | None:
        return ("Cell", "In[3]") if name == "<cell>" else None


class Shell:
    compile = Compiler()

    def register_magic_function(self, function: Any, magic_kind: str, magic_name: str) -> None:
        assert (magic_kind, magic_name) == ("cell", "watch")
        self.watch = function

    def run_cell(self, cell: str) -> None:
        exec(builtins.compile(cell, "<cell>", "exec"), {"torch": torch})  # as IPython does


CELL = """\
model, x = torch.nn.Linear(2, 1), torch.randn(8, 2)
sgd = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(9):
    model(x).square().mean().backward()
    sgd.step()
"""


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    error = types.ModuleType("IPython.core.error")
    error.UsageError = UsageError  # type: ignore[attr-defined]  # as in IPython
    for name, module in (("IPython", error), ("IPython.core", error), (error.__name__, error)):
        monkeypatch.setitem(sys.modules, name, module)
    made = Shell()
    torchmlp.load_ipython_extension(made)
    return made


@pytest.mark.parametrize(("line", "steps"), [("", 9), ("--steps 4", 4)])
def test_a_cell_is_watched(
    shell: Shell, line: str, steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its report names the line of the cell."""
    shell.watch(line, CELL)
    said = capsys.readouterr().out
    assert "gradients-not-cleared at cell In[3]:4" in said
    assert f"of the first {steps} steps" in said


@pytest.mark.parametrize("line", ["--steps", "--steps x", "--steps 0", "nonsense", "--steps 4 5"])
def test_what_it_does_not_take(shell: Shell, line: str) -> None:
    """It is told as IPython tells it, in a line, and the cell is not run."""
    with pytest.raises(UsageError, match="expected nothing or --steps N"):
        shell.watch(line, "1 / 0")
