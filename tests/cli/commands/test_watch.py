"""The command `watch`: the script runs as `python script.py` would run it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.children import child
from tests.cli.command_line import TRAIN, Result, run, start, wait_for

BROKEN = """\
import torch
model, x = torch.nn.Linear(2, 1), torch.randn(8, 2)
sgd = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(9):
    model(x).square().mean().backward()
    sgd.step()
"""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    main, hook = sys.modules["__main__"], sys.excepthook
    yield
    sys.modules["__main__"], sys.excepthook = main, hook


def watch(folder: Path, text: str | bytes, *arguments: Any, name: str = "script.py") -> Result:
    name = str(name)
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return run(folder, "watch", name, *arguments)


SEEN = """\
import os, sys
print(__name__, __file__, __doc__, __package__, __spec__)
print(sorted(k for k in globals() if k[:2] == "__"))
print(sys.argv, os.getcwd(), os.path.realpath(sys.path[0]), type(sys.modules["__main__"]))
print(sys.modules["__main__"].__dict__ is globals(), "torchmlp" in globals())
"""


@pytest.mark.parametrize("name", ["my script.py", "plain", "in/a/script.py", "./x.py"])
def test_a_script_sees_what_python_shows_it(tmp_path: Path, name: str) -> None:
    """Its name, file, folder, arguments and globals; also in another folder, and with any name."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    found = watch(tmp_path, SEEN, "--help", "a b", "--steps", name=name)
    expected = python(tmp_path, name, "--help", "a b", "--steps")
    assert found.out == expected.out
    assert found.code == 0


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(0)", 0, ""),
        ("sys.exit(5)", 5, ""),
        ("sys.exit('text')", 1, "text\n"),
        ("raise SystemExit(True)", 1, ""),
    ],
)
def test_the_scripts_exit_code(tmp_path: Path, line: str, code: int, said: str) -> None:
    found = watch(tmp_path, f"import sys\n{line}\n")
    assert found.code == code
    assert found.err.startswith(said)


def test_a_mistake_outweighs_the_scripts_exit_code(tmp_path: Path) -> None:
    found = watch(tmp_path, f"{BROKEN}raise SystemExit(5)\n")
    assert found.code == 3
    assert "gradients-not-cleared at script.py:5" in found.err


def python(folder: Path, *words: str) -> Result:
    """What Python itself makes of a script."""
    line = [sys.executable, *(words or ["script.py"])]
    found = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    return Result(found.returncode, found.stdout, found.stderr)


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    return 1 / 0\nf()\n",
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('mine') from e\n",
        "raise ExceptionGroup('many', [ValueError(1), TypeError(2)])\n",
        "def f(:\n",
        "x = '\n",
        "# coding: latin-1\nprint('\xe4')\n1/0\n",
        "import sys\nsys.excepthook = lambda *a: print('HOOK', a[0], file=sys.stderr)\n1/0\n",
        "exec('1/0')\n",
        "import broken\n",
    ],
)
def test_a_traceback_is_pythons(tmp_path: Path, text: str) -> None:
    """... a syntax error's too, and what the script's own hook makes of it."""
    (tmp_path / "broken.py").write_text("def f(:\n")
    found = watch(tmp_path, text.encode("latin-1"))
    assert found.code == 1
    expected = python(tmp_path)
    assert found.out == expected.out
    assert found.err.startswith(expected.err)


RAISING = """\
import logging, torch
for f in (
    lambda: torch.nn.Sequential(torch.nn.Linear(2, 1))(torch.ones(3)),
    lambda: torch.ones(2, requires_grad=True).backward(),
    lambda: torch.nn.functional.cross_entropy(torch.ones(2, 2), torch.ones(3).long()),
    lambda: torch.optim.SGD([], lr=1),
    lambda: torch.nn.Linear(2, 1).load_state_dict({}),
):
    try:
        f()
    except Exception as error:
        last = error
torch.nn.Linear(2, 1)(torch.ones(3))
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "raise ValueError('mine') from last\n"])
def test_no_frame_of_ours_is_in_a_traceback(tmp_path: Path, end: str) -> None:
    """... also where a function that is replaced raised."""
    text = RAISING.replace("torch.nn.Linear(2, 1)(torch.ones(3))\n", end) if end else RAISING
    (tmp_path / "script.py").write_text(text)
    found = wait_for(start(tmp_path, "watch", "script.py"))
    assert found.err.startswith(python(tmp_path).err)
    assert found.code == 1


def test_what_is_no_script(tmp_path: Path) -> None:
    """A binary file is a usage error; an empty one is a script that trains nothing."""
    assert watch(tmp_path, b"\x7fELF\0\0").code == 2
    empty = watch(tmp_path, "")
    assert empty.code == 0
    assert "nothing was trained" in empty.err
    for words in (["none.py"], ["."], [], ["--nonsense", "x.py"]):
        found = run(tmp_path, "watch", *words)
        assert found.code == 2
        assert "Traceback" not in found.err


@pytest.mark.parametrize("steps", ["0", "-1", "x", "1e3", ""])
def test_steps_must_be_a_number(tmp_path: Path, steps: str) -> None:
    (tmp_path / "script.py").write_text("print('ran')")
    found = run(tmp_path, "watch", "--steps", steps, "script.py")
    assert found.code == 2
    assert "--steps" in found.err
    assert not found.out


@pytest.mark.parametrize("target", ["none/report.json", "."])
def test_a_report_that_cannot_be_written_is_told_first(tmp_path: Path, target: str) -> None:
    (tmp_path / "script.py").write_text("print('ran')")
    found = run(tmp_path, "watch", "--json", target, "script.py")
    assert found.code == 2
    assert "--json" in found.err
    assert not found.out


def test_a_report_is_where_it_was_asked_for(tmp_path: Path) -> None:
    """... though the script has gone to another folder."""
    (tmp_path / "other").mkdir()
    (tmp_path / "script.py").write_text(f"import os\nos.chdir('other')\n{BROKEN}")
    assert run(tmp_path, "watch", "--json", "report.json", "script.py").code == 3
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["findings"][0]["line"] == 7
    assert report["findings"][0]["file"] == str(tmp_path / "script.py")


def test_steps_end_the_watching_and_not_the_script(tmp_path: Path) -> None:
    """The report comes after so many steps, once, and the script goes on."""
    (tmp_path / "script.py").write_text(f"{BROKEN}print('end')\n")
    found = run(tmp_path, "watch", "--steps", "5", "script.py")
    assert found.code == 3
    assert found.out == "end\n"
    assert found.err.count("1 mistake found in 5 steps") == 1
    assert "of the first 5 steps" in found.err


OF_MAIN = """\
import copy, dataclasses, enum, inspect, io, pickle, torch
import sibling

@dataclasses.dataclass
class Settings:
    rate: float = 0.1

class Kind(enum.Enum):
    A = 1

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
    def forward(self, x):
        return self.layer(x)

if __name__ == "__main__":
    model = Net()
    assert pickle.loads(pickle.dumps((Settings(), Kind.A))) == (Settings(), Kind.A)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)),
                  torch.jit.script(model), torch.jit.trace(model, torch.ones(1, 2))):
        assert other(torch.ones(1, 2)).equal(model(torch.ones(1, 2)))
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    torch.load(buffer, weights_only=False)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    copy.deepcopy(sgd), pickle.dumps(sgd)
    assert "class Net" in inspect.getsource(Net)
    print(sibling.NAME, inspect.signature(torch.optim.SGD.zero_grad), model)
"""


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_what_belongs_to_main(tmp_path: Path) -> None:
    """Its classes are pickled, copied, scripted and traced; modules beside it are found."""
    (tmp_path / "sibling.py").write_text("NAME = 'beside'")
    found = watch(tmp_path, OF_MAIN)
    sys.modules.pop("sibling", None)
    assert found.code == 0, found.err
    assert found.out.startswith("beside (self, set_to_none: bool = True)")


WARNING = """\
import torch, warnings
warnings.simplefilter("always")
weight = torch.nn.Parameter(torch.ones(2))
sgd = torch.optim.SGD([weight], lr=0.1)
schedule = torch.optim.lr_scheduler.StepLR(sgd, 5)
schedule.step(3)
schedule.step()
torch.nn.utils.clip_grad_norm_([], 1.0)
torch.nn.init.zeros_(torch.empty(0, 2))
torch.nn.init.xavier_normal_(torch.empty(0, 2))
sgd.zero_grad()
"""


@pytest.mark.slow
def test_warnings_are_pythons(tmp_path: Path) -> None:
    """They point at the same lines as unwatched, none of them ours."""
    (tmp_path / "script.py").write_text(WARNING)
    expected = python(tmp_path).err
    assert "Warning" in expected
    assert wait_for(start(tmp_path, "watch", "script.py")).err.startswith(expected)


OUTLIVES = """\
import atexit, os, pickle, sys, threading, time
class A: pass
def last():
    print("last", __name__, pickle.loads(pickle.dumps(A())).__class__ is A, os.getcwd(), sys.argv)
atexit.register(last)
os.chdir("/")
def slow():
    time.sleep(0.5)
    print("thread", pickle.loads(pickle.dumps(A())).__class__ is A, flush=True)
threading.Thread(target=slow).start()
print("read", input(), flush=True)
"""


@pytest.mark.slow
def test_what_outlives_the_script(tmp_path: Path) -> None:
    """Its standard input, threads and atexit: they find its __main__ and folder at the end."""
    (tmp_path / "script.py").write_text(OUTLIVES)
    options: dict[str, Any] = {
        "cwd": tmp_path,
        "capture_output": True,
        "text": True,
        "input": "in\n",
    }
    python = subprocess.run([sys.executable, "script.py"], check=True, **options)
    words = [sys.executable, str(TRAIN), "watch", "script.py"]
    assert subprocess.run(words, check=True, **options).stdout == python.stdout


def _watched(folder: Path, text: str) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(text)
    to_default = "import signal, os, sys; [signal.signal(n, signal.SIG_DFL) for n in (2, 15)]; "
    go = f"{to_default}os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    return child([sys.executable, "-c", go, str(TRAIN), "watch", "script.py"], cwd=folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "text", "code", "said"),
    [
        (signal.SIGINT, "import time\nprint(1, flush=True)\ntime.sleep(60)\n", 130, ""),
        (signal.SIGTERM, "import time\nprint(1, flush=True)\ntime.sleep(60)\n", -15, ""),
        (
            signal.SIGINT,
            (
                "import time\nprint(1, flush=True)\ntry:\n    time.sleep(60)\n"
                "except KeyboardInterrupt:\n    print('caught')\n"
            ),
            0,
            "caught\n",
        ),
    ],
)
def test_signals_are_the_scripts(
    tmp_path: Path, number: signal.Signals, text: str, code: int, said: str
) -> None:
    """Ctrl-C raises in it, which it may catch; SIGTERM ends it, as any Python program."""
    process = _watched(tmp_path, text)
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == said
    assert "torchmlp" not in err


@pytest.mark.slow
def test_output_that_nobody_reads(tmp_path: Path) -> None:
    """A closed pipe: the script fails as in Python, and the report is told all the same."""
    prints = "for _ in range(10**6):\n    print('x' * 99)\n"
    process = _watched(tmp_path, BROKEN + prints)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "BrokenPipeError" in err
    assert "gradients-not-cleared" in err


def notebook(*cells: str) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells]})


def test_a_notebook_in_another_folder(tmp_path: Path) -> None:
    """It runs beside its files, and what only IPython reads is left out; cell and line are told."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data.txt").write_text("data")
    head = "%matplotlib inline\n!ls\nimport pathlib\ndisplay(1)\n"
    head += "print(pathlib.Path('data.txt').read_text())"
    text = notebook(head, "%%html\n<b>", BROKEN)
    found = watch(tmp_path, text, name="in/net.ipynb")
    assert found.code == 3, found.err
    assert found.out == "1\ndata\n"
    assert "net.ipynb, cell 3" in found.err
