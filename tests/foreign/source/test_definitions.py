"""A file's definitions are loaded, and nothing that it does is done."""

import json
import sys
from pathlib import Path

import pytest

from torchmlp.foreign.source.cells import SourceError
from torchmlp.foreign.source.definitions import load_definitions

TRAINS = """
import numpy as np
import no_such_library
from no_such_loader import load_data
from no_such_base import Base
import sys
sys.path.append("elsewhere")

X, y = load_data("train.csv")
data = np.loadtxt("missing.csv")
rate, sizes = 0.5, [4, 3]
table = np.zeros(3)
rng = np.random.default_rng(0)
square = lambda v: v * v
if 1 > 0:
    chosen = "this"
else:
    chosen = "that"
try:
    import cupy as xp
except ImportError:
    xp = np

@no_such_library.jit
def step(w):
    return square(w) * rate

class Net(Base):
    pass

net = Net()
for epoch in range(10**9):
    step(1.0)
print("it trains", file=open("trained.txt", "w"))
if __name__ == "__main__":
    open("main.txt", "w")
"""


def test_definitions_without_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions, classes and constants are there; loops, reads and bare calls were passed over."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(TRAINS, encoding="utf-8")
    space = vars(load_definitions(tmp_path / "net.py", "loaded"))
    assert space["step"](3.0) == 4.5
    assert space["sizes"] == [4, 3]
    assert space["table"].shape == (3,)
    assert space["chosen"] == "this"
    assert space["Net"]() is not None
    assert {"X", "y", "data", "net"} <= set(space["__skipped__"])
    assert space["__skipped__"]["X"] == 9
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.py"]


def test_modules_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the same folder is found, and its training is not run either."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    (tmp_path / "layers_beside.py").write_text(
        "def double(v):\n    return 2 * v\nwhile True:\n    pass\n", encoding="utf-8"
    )
    (tmp_path / "net.py").write_text(
        "from layers_beside import double\nimport layers_beside as other\n"
        "def both(v):\n    return double(v) + other.double(v)\n",
        encoding="utf-8",
    )
    assert vars(load_definitions(tmp_path / "net.py", "loaded"))["both"](1) == 4


def notebook(*sources: str) -> str:
    """A notebook's JSON, a code cell for each source after a text."""
    cells = [{"cell_type": "markdown", "source": ["# Title"]}]
    cells += [{"cell_type": "code", "source": source.splitlines(True)} for source in sources]
    return json.dumps({"cells": cells, "nbformat": 4})


def test_notebooks(tmp_path: Path) -> None:
    """Code cells are read, magics and shell lines are not Python, and errors name the cell."""
    path = tmp_path / "net.ipynb"
    path.write_text(
        notebook("%matplotlib inline\n!pip install x\n", "def f(v):\n    return v[0]\n")
    )
    function = vars(load_definitions(path, "loaded"))["f"]
    assert function([7]) == 7
    assert function.__code__.co_filename == f"{path}, cell 3"
    path.write_text(notebook("def f(:\n"))
    with pytest.raises(SourceError, match=r"net\.ipynb, cell 2, line 1: .*Python 3"):
        load_definitions(path, "loaded")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("net.py", b"print 'hello'\n", r"net\.py, line 1: .*cannot read it"),
        ("net.py", b"\xff\xfe\x00", "no text in UTF-8"),
        ("net.ipynb", b"[1, 2]", "no notebook"),
        ("net.ipynb", b'{"cells": []}', "no cell with code"),
    ],
    ids=["old-python", "binary", "json", "empty"],
)
def test_unreadable(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    """What holds no Python code is refused, with the line where there is one."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=said):
        load_definitions(tmp_path / name, "loaded")
    with pytest.raises(SourceError, match="no file at"):
        load_definitions(tmp_path / "nothing.py", "loaded")
