"""The results of a map as a file that survives any end of the program."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from torchmlp.stability.map.cell import Cell, CellResult
from torchmlp.stability.map.store import Results, ResultsError

SETTINGS = {"steps": 200, "model": {"activation": "relu", "hidden": (32,)}}


def result(width: int = 32, lr: float = 0.1, **changed: Any) -> CellResult:
    cell = Cell(width, 1, 64, lr, "uniform(0, 1)", 0)
    made = CellResult(cell, "learns", None, 2.3, 0.4, 0.9, None, 0.25, 1.5)
    return replace(made, **changed)


def filled(folder: Path, count: int = 3) -> list[CellResult]:
    some = [result(32 * (k + 1)) for k in range(count)]
    with Results(folder, SETTINGS) as results:
        for one in some:
            results.add(one)
    return some


def test_finished_cells_are_there_again(tmp_path: Path) -> None:
    """A folder that is opened again holds every result as it was, and says nothing was lost."""
    some = filled(tmp_path / "new" / "map")
    with Results(tmp_path / "new" / "map", SETTINGS) as results:
        assert results.finished == {one.cell: one for one in some}
        assert results.dropped == ""
        results.add(result(lr=1.0))
    with Results(tmp_path / "new" / "map", SETTINGS) as results:
        assert len(results.finished) == 4


def test_each_line_is_in_the_file_before_add_returns(tmp_path: Path) -> None:
    """Another reader sees it while the map goes on."""
    with Results(tmp_path, SETTINGS) as results:
        results.add(result())
        lines = (tmp_path / "cells.jsonl").read_text().splitlines()
        assert [json.loads(line)["width"] for line in lines] == [32]
        assert json.loads(lines[0])["init"] == "uniform(0, 1)"
    assert json.loads((tmp_path / "settings.json").read_text())["steps"] == 200


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_and_leaves_no_lock(tmp_path: Path) -> None:
    """kill -9 after two cells: both are there, and the folder is free."""
    code = (
        "import os, signal, sys; from tests.stability.map.test_store import *\n"
        "r = Results(sys.argv[1], SETTINGS); r.add(result(1)); r.add(result(2))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=False, cwd=_root())
    assert done.returncode == -signal.SIGKILL
    with Results(tmp_path, SETTINGS) as results:
        assert [cell.width for cell in results.finished] == [1, 2]


def _root() -> Path:
    return ROOT


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_half_written_last_line_is_dropped_with_a_word(tmp_path: Path, cut: int) -> None:
    """Wherever it was cut; the rest is kept, and what is added next is whole."""
    some = filled(tmp_path)
    path = tmp_path / "cells.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with Results(tmp_path, SETTINGS) as results:
        assert list(results.finished) == [one.cell for one in some[:2]]
        assert "dropped the last line" in results.dropped
        assert "kept 2 cells" in results.dropped
        results.add(some[2])
    with Results(tmp_path, SETTINGS) as results:
        assert len(results.finished) == 3
        assert results.dropped == ""


@pytest.mark.parametrize("tail", [b"\0\0\0\0\n", b"{}\n", b'{"width": 3\n'])
def test_a_last_line_that_is_no_cell_is_dropped_too(tmp_path: Path, tail: bytes) -> None:
    """A machine that lost power can leave a line that is whole and void."""
    filled(tmp_path)
    path = tmp_path / "cells.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    with Results(tmp_path, SETTINGS) as results:
        assert len(results.finished) == 3
        assert results.dropped
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"outcome": "fine"}, "outcome is 'fine'"),
        ({"width": "wide"}, "width is 'wide'"),
        ({"loss": math.nan}, "NaN is no number"),
        ({"more": 1}, "it has other fields"),
    ],
)
def test_a_broken_line_in_the_middle_is_an_error(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    """It names the file and the line, and changes nothing."""
    filled(tmp_path)
    path = tmp_path / "cells.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **change})
    text = "\n".join(lines) + "\n"
    path.write_text(text)
    with pytest.raises(ResultsError, match=rf"cells\.jsonl, line 2, .*{told}.*another --output"):
        Results(tmp_path, SETTINGS)
    assert path.read_text() == text


def test_a_broken_line_before_a_cut_one_is_an_error(tmp_path: Path) -> None:
    """Two broken lines are no single interruption."""
    filled(tmp_path, 1)
    with (tmp_path / "cells.jsonl").open("ab") as file:
        file.write(b"{}\n{")
    with pytest.raises(ResultsError, match=r"line 2, is not a cell of a map \(it has other fields"):
        Results(tmp_path, SETTINGS)


@pytest.mark.parametrize(
    ("here", "told"),
    [
        ({**SETTINGS, "steps": 100}, "steps is 200 there and 100 here"),
        (
            {"steps": 200, "model": {"activation": "tanh", "hidden": (32,)}},
            'model.activation is "relu" there and "tanh" here',
        ),
        ({**SETTINGS, "momentum": 0.9}, "momentum is absent there and 0.9 here"),
        ({"model": SETTINGS["model"]}, "steps is 200 there and absent here"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, here: dict[str, Any], told: str) -> None:
    """Cells of different runs never share a map; the first difference is named."""
    filled(tmp_path)
    with pytest.raises(ResultsError, match=f"{told}; give another --output"):
        Results(tmp_path, here)


def test_cells_without_their_settings_are_refused(tmp_path: Path) -> None:
    """Nobody knows what they were trained with."""
    filled(tmp_path)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ResultsError, match=r"cells\.jsonl without the settings\.json"):
        Results(tmp_path, SETTINGS)


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_broken_settings_are_refused(tmp_path: Path, text: str) -> None:
    """The file is named."""
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ResultsError, match=r"settings\.json|the file is"):
        Results(tmp_path, SETTINGS)


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    """The second is told; when the first has ended, it may."""
    first = Results(tmp_path, SETTINGS)
    with pytest.raises(ResultsError, match="another map is being written to"):
        Results(tmp_path, SETTINGS)
    first.close()
    Results(tmp_path, SETTINGS).close()


def test_a_folder_that_was_refused_is_not_locked(tmp_path: Path) -> None:
    """The error leaves nothing open."""
    filled(tmp_path)
    with pytest.raises(ResultsError):
        Results(tmp_path, {})
    Results(tmp_path, SETTINGS).close()


@pytest.mark.parametrize("inside", [".", "deeper"])
def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path, inside: str) -> None:
    """The path, the system's reason and the way out."""
    (tmp_path / "map").write_text("")
    with pytest.raises(ResultsError, match=r"cannot write .*map.*(exists|Not a dir).*--output"):
        Results(tmp_path / "map" / inside, SETTINGS)


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    """The same for cells.jsonl itself."""
    (tmp_path / "cells.jsonl").mkdir()
    with pytest.raises(ResultsError, match=r"cannot write .*cells\.jsonl \(Is a directory\)"):
        Results(tmp_path, SETTINGS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    """As above."""
    tmp_path.chmod(0o500)
    with pytest.raises(ResultsError, match="Permission denied"):
        Results(tmp_path, SETTINGS)


@pytest.mark.slow
def test_a_line_that_does_not_fit_on_the_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """A process whose files may be a little longer than one line: the second is not half there."""
    code = (
        "import resource, signal, sys; from tests.stability.map.test_store import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "r = Results(sys.argv[1], SETTINGS); r.add(result(1))\n"
        "size = r.path.stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, size + 30))\n"
        "try: r.add(result(2))\n"
        "except ResultsError as error: print(error, len(r.finished), r.path.stat().st_size - size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        check=True,
        cwd=_root(),
        capture_output=True,
        text=True,
    )
    assert "cannot write" in done.stdout
    assert done.stdout.endswith("--output 1 0\n")


def test_what_is_not_finite_becomes_none(tmp_path: Path) -> None:
    """JSON has no nan; memory and file agree on None."""
    sick = result(outcome="nan", step=3, loss=math.inf, accuracy=math.nan, first_loss=math.nan)
    with Results(tmp_path, SETTINGS) as results:
        results.add(sick)
        kept = results.finished[sick.cell]
    assert (kept.loss, kept.accuracy, kept.first_loss) == (None, None, None)
    assert "NaN" not in (tmp_path / "cells.jsonl").read_text()
    with Results(tmp_path, SETTINGS) as results:
        assert results.finished[sick.cell] == kept


def test_a_rate_that_is_a_whole_number_is_read_again(tmp_path: Path) -> None:
    """JSON writes 1 for 1 where Python was given an int."""
    filled(tmp_path, 1)
    path = tmp_path / "cells.jsonl"
    path.write_text(path.read_text().replace('"lr": 0.1', '"lr": 1'))
    with Results(tmp_path, SETTINGS) as results:
        assert results.finished == {result(lr=1.0).cell: result(lr=1.0)}
