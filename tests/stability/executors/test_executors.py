"""Every engine finds the same cells, loses nothing when a process is killed, and leaves nobody."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.children import child
from tests.stability.small_maps import cell, easy, map_config, timeless
from torchmlp.stability.executors import pool, ray
from torchmlp.stability.executors.errors import ExecutorError
from torchmlp.stability.map.config import MapConfig
from torchmlp.stability.map.task import CellError, Task, run_task, tasks_of

CELLS = [*(cell(width=width) for width in (8, 16)), cell(width=8, lr=30.0)]
TASKS = tasks_of(CELLS)
STEPS = 5
OWN = map_config(steps=STEPS)
# What a program outside of pytest trains, as `pool` and `ray` are started: {0} is an engine's name.
PROGRAM = """
import json, sys
from tests.stability.small_maps import cell, easy, map_config, timeless
from tests.stability.executors.test_executors import TASKS
from torchmlp.stability.executors import {0}
if __name__ == "__main__":
    found = []
    try:
        for results in {0}.run(TASKS, {1}, easy(), 2):
            found += results
    except KeyboardInterrupt:
        print("interrupted")
    except Exception as error:
        print(type(error).__name__, error)
    else:
        print(json.dumps(timeless(found)))
"""


def program(engine: str, own: str, folder: Path) -> subprocess.Popen[str]:
    """A program that trains by an engine, in a process group of its own."""
    path = folder / "program.py"
    path.write_text(PROGRAM.format(engine, own), encoding="utf-8")
    return child(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def is_there(process: int) -> bool:
    """Whether a process runs; one that has ended and waits to be asked for does not."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def descendants(of: int) -> set[int]:
    """The processes that a process has started, and theirs."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found: set[int] = set()
    while new := {child for child, parent in parents.items() if parent in {of, *found}} - found:
        found |= new
    return found


def until(condition: Callable[[], Any], seconds: float = 90) -> Any:
    """What the condition gives, once it holds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.05)
    return found


def makers(folder: Path, count: int = 2) -> list[int]:
    """The processes that are at work, once there are so many; each has left a file of its name."""
    until(lambda: len(list(folder.glob("[0-9]*"))) >= count)
    return [int(path.name) for path in folder.glob("[0-9]*")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


def collected(found: Iterator[list[Any]]) -> list[Any]:
    return [result for results in found for result in results]


def killed_once(folder: Path) -> MapConfig:
    """Of the cells of width 16 the first that is trained ends its process, if none has before."""
    return map_config("KilledOnce", folder=str(folder), width=16, steps=STEPS)


def expected(folder: Path) -> list[dict[str, Any]]:
    """The cells as this process trains them, which does not end itself."""
    done = folder.parent / "done"
    done.mkdir()
    (done / "0").touch()
    own = killed_once(done)
    return timeless([result for task in TASKS for result in run_task(task, own, easy())])


@pytest.mark.slow
def test_a_killed_worker_of_the_pool_loses_nothing(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL in the middle: its task is trained by another process, and all cells are there, to
    the last bit as this process finds them; not a word, and in the end nobody is left."""
    found = collected(pool.run(TASKS, killed_once(folder), easy(), 2))
    assert len(makers(folder, 1)) == 1
    assert timeless(found) == expected(folder)
    assert capfd.readouterr() == ("", "")
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_killed_worker_of_ray_loses_nothing(tmp_path: Path, folder: Path) -> None:
    """The same on a local cluster."""
    own = f"map_config('KilledOnce', folder={str(folder)!r}, width=16, steps={STEPS})"
    process = program("ray", own, tmp_path)
    seen: set[int] = set()
    while process.poll() is None:
        seen |= descendants(process.pid)
        time.sleep(0.2)
    out, errors = process.communicate()
    assert errors == ""
    (killed,) = makers(folder, 1)
    assert killed in seen
    # Of a process that is lost Ray says a word of its own, before.
    assert json.loads(out.splitlines()[-1]) == expected(folder)
    until(lambda: not any(map(is_there, seen)), 30)


@pytest.mark.slow
def test_a_task_that_kills_every_process_is_given_up(folder: Path) -> None:
    """After three processes: which cells, and what may be the matter."""
    own = map_config("AlwaysKilled", folder=str(folder))
    words = r"width 8, depth 1, batch size 16 was ended from outside 3 times \(SIGKILL\).*fewer"
    with pytest.raises(ExecutorError, match=words):
        collected(pool.run(TASKS[:1], own, easy(), 2))
    assert len(list(folder.iterdir())) == 3


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["pool", "ray"])
def test_workers_end_with_a_parent_that_is_killed(
    engine: str, tmp_path: Path, folder: Path
) -> None:
    """kill -9 of the program: no process that trains is left, however busy."""
    process = program(engine, f"map_config('Waits', folder={str(folder)!r})", tmp_path)
    workers = makers(folder)
    process.kill()
    process.wait()
    until(lambda: not any(map(is_there, workers)), 30)
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "moment"),
    [("pool", "while they start"), ("pool", "while they train"), ("ray", "while they train")],
)
def test_ctrl_c_is_for_the_caller(engine: str, moment: str, tmp_path: Path, folder: Path) -> None:
    """A Ctrl-C to all of them: the caller gets KeyboardInterrupt, and nobody says a word."""
    process = program(engine, f"map_config('Waits', folder={str(folder)!r})", tmp_path)
    # Ray has seven of its own before it takes tasks; the pool has one, and then its workers.
    least = {"pool": 2, "ray": 7}[engine]
    started = until(lambda: len(found := descendants(process.pid)) >= least and found)
    # Ray's own need a minute to find that they are not needed.
    workers = started if engine == "pool" else set()
    if moment == "while they train":
        workers |= set(makers(folder))
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    # Ray's processes may tell in their logs' form what they could not end.
    said = [line for line in errors.splitlines() if not re.match(r"\[.+\] \w+\.cc:\d+: ", line)]
    assert (out, said) == ("interrupted\n", [])
    until(lambda: not any(map(is_there, workers)), 30)


TOLD = r"width \d+, depth 1, batch size 16, rate 0\.1, init auto, seed 0: OSError: the"


@pytest.mark.slow
def test_what_a_cell_raises_in_the_pool_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    """With the cell named, and without a traceback of the worker's."""
    with pytest.raises(CellError, match=TOLD):
        collected(pool.run(TASKS, map_config("Fails"), easy(), 1))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_what_a_cell_raises_on_ray_is_passed_on(tmp_path: Path) -> None:
    """The same on a local cluster."""
    out, errors = program("ray", "map_config('Fails')", tmp_path).communicate(timeout=180)
    assert errors == ""
    assert re.match(f"CellError {TOLD}", out)


@pytest.mark.slow
def test_a_pool_that_is_not_asked_on_ends() -> None:
    """Whoever stops in the middle leaves no process behind."""
    found = pool.run(TASKS, OWN, easy(), 2)
    next(found)
    assert multiprocessing.active_children()
    found.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_workers_have_one_thread_and_the_parent_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """OMP_NUM_THREADS is 1 in a worker before anything is imported, and is left as it was here."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (found,) = collected(
        pool.run([Task((cell(lr=1e-9),))], map_config("ToldByEnvironment", steps=1), easy(), 1)
    )
    assert found.first_loss == 1.0
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is named with the command that installs it."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r'pip install "torchmlp\[ray\]", or take engine pool'):
        next(ray.run(TASKS, OWN, easy(), 2))
