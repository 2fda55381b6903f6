"""`train.py map`, as a user meets it."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.cli.command_line import run, start, wait_for

# Four cells of half a second: the digits that ship, twenty steps.
DATA = ("--data.source", "embedded", "--lr", "0.1", "--batch_size", "32")
MAP = ("map", *DATA, "--batch_sizes", "32", "--steps", "20")
FOUR = (*MAP, "--widths", "8", "16", "--lrs", "0.1", "1e6")
OUTPUT = Path("lightning_logs") / "map"


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The cells that are written."""
    text = (folder / "cells.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def without_seconds(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = [{k: v for k, v in cell.items() if k != "seconds"} for cell in cells]
    return sorted(kept, key=str)


@pytest.mark.slow
def test_a_map_is_drawn_once(tmp_path: Path) -> None:
    """The plan, the table, the causes, one sentence of advice, and the files. The same command
    again trains nothing but the cell whose line was cut, with a word, and says the same; one of
    other settings is refused."""
    code, out, err = run(tmp_path, *FOUR)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("4 cells in ")
    assert " GB, without dropout 0.3, input_dropout 0.2, max_shift 1, OneCycle" in lines[0]
    assert lines[-1] == f"map {OUTPUT} (cells.jsonl, batch_32.png and .svg)"
    assert lines[-2].startswith("Width 512 is not on the map; beside it, at width 16 and batch 32")
    assert "\ncauses\n" in out
    assert max(map(len, lines[1:-2])) <= 80
    cells = lines_of(tmp_path / OUTPUT)
    assert len(cells) == 4
    assert all(c["outcome"] in ("nan", "diverged", "stuck") for c in cells if c["lr"] > 1)
    assert all(c["first_loss"] > 2 and c["cause"] for c in cells)
    for suffix in ("png", "svg"):
        assert (tmp_path / OUTPUT / f"batch_32.{suffix}").stat().st_size > 10_000
    path = tmp_path / OUTPUT / "cells.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    again = run(tmp_path, *FOUR)
    assert (again.code, again.err) == (0, "")
    dropped, kept, plan, *rest = again.out.splitlines()
    assert dropped.startswith(f"dropped the last line of {OUTPUT}/cells.jsonl, half written")
    assert kept == f"3 of 4 cells are in {OUTPUT}/cells.jsonl already"
    assert plan.startswith("1 cell in 1 group on 1 worker")
    shown = [line for line in lines[1:] if " left" not in line]
    assert [line for line in rest if " left" not in line] == shown
    assert without_seconds(lines_of(tmp_path / OUTPUT)) == without_seconds(cells)
    code, _, err = run(tmp_path, *FOUR, "--steps", 30)
    assert code == 2
    assert "steps is 20 there and 30 here" in err
    assert "another --output" in err


LONG = (
    *("map", *DATA, "--batch_sizes", "32", "--steps", "5", "--workers", "2"),
    *("--widths", "8", "16", "24", "--lrs", "0.01:1e7:4log"),
)


def started(folder: Path, count: int) -> subprocess.Popen[str]:
    """A map of twelve cells that has finished `count` of them."""
    process = start(folder, *LONG)
    path = folder / OUTPUT / "cells.jsonl"
    for _ in range(1200):
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return process
        assert process.poll() is None, wait_for(process)
        time.sleep(0.1)
    raise AssertionError("no cell was finished in two minutes")


@pytest.mark.slow
def test_a_cut_map_goes_on(tmp_path: Path) -> None:
    """Ctrl-C, and then kill -9: what is finished is kept and never trained again; Ctrl-C ends with
    130 and says what is kept. The cells are those of a map that was left alone."""
    process = started(tmp_path, 1)
    process.send_signal(signal.SIGINT)
    result = wait_for(process)
    kept = lines_of(tmp_path / OUTPUT)
    assert result.code == 130
    assert result.err == (
        f"interrupted\n{len(kept)} of 12 cells are kept in {OUTPUT}/cells.jsonl; the same command "
        f"goes on from there\n"
    )
    process = started(tmp_path, len(kept) + 1)
    process.send_signal(signal.SIGKILL)
    wait_for(process)
    more = lines_of(tmp_path / OUTPUT)
    assert more[: len(kept)] == kept
    again = run(tmp_path, *LONG)
    assert again.code == 0, again.err
    assert (
        again.out.splitlines()[0] == f"{len(more)} of 12 cells are in {OUTPUT}/cells.jsonl already"
    )
    cells = lines_of(tmp_path / OUTPUT)
    assert cells[: len(more)] == more
    assert len({(c["width"], c["lr"]) for c in cells}) == len(cells) == 12
    uncut = run(tmp_path, *LONG, "--output", "uncut")
    assert uncut.code == 0, uncut.err
    assert without_seconds(cells) == without_seconds(lines_of(tmp_path / "uncut"))


@pytest.mark.slow
def test_the_origins_map_has_nan(tmp_path: Path) -> None:
    """The network that this package began with: nan at its own width, batch size and rate, and the
    cause that its diagnosis gives."""
    code, out, err = run(
        tmp_path, "map", "--config", ROOT / "configs" / "origin.yaml", "--widths", 1000,
        "--batch_sizes", 20, "--lrs", 1, "--steps", 20,
    )  # fmt: skip
    assert (code, err) == (0, "")
    (found,) = lines_of(tmp_path / OUTPUT)
    assert (found["outcome"], found["step"], found["cause"]) == ("nan", 2, "init-not-centred")
    assert "nan@2" in out
    assert "At width 1000 and batch 20 no rate" in out


@pytest.mark.slow
def test_the_largest_stable_rate_is_found(tmp_path: Path) -> None:
    """--find_lr says the rate to use and the largest stable one, and draws the curve."""
    code, out, err = run(
        tmp_path, "map", *DATA, "--find_lr", "--hidden", 32, "--model.dropout", 0,
        "--model.input_dropout", 0, "--output", "found",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert out.startswith("suggested rate ")
    assert "largest stable rate " in out
    assert out.splitlines()[-1] == ("curve found (learning_rate.json, learning_rate.png and .svg)")
    assert (tmp_path / "found" / "learning_rate.svg").exists()


@pytest.mark.slow
def test_a_network_without_a_stable_rate_is_told_so(tmp_path: Path) -> None:
    """The origin's: one line that says so, and exit code 3; no traceback."""
    code, out, err = run(tmp_path, "map", "--config", ROOT / "configs" / "origin.yaml", "--find_lr")
    assert (code, err) == (3, "")
    assert out.startswith("no stable rate below 10: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lrs",), "--lrs: expected at least one argument"),
        (("--lrs", "-0.1"), "learning rate -0.1: expected a finite number above 0"),
        (("--lrs", "1:0.1:3log"), "goes from 1 down to 0.1"),
        (("--widths", "abc"), "--widths: invalid int value: 'abc'"),
        (("--widths", "0"), "widths hold 0, expected at least 1"),
        (("--inits", "hee"), "he"),
        (("--steps", "0"), "expected --steps of at least 1, got 0"),
        (("--workers", "0"), "expected --workers of at least 1, got 0"),
        (("--memory", "0"), "expected --memory in GB above 0, got 0"),
        (("--engine", "spark"), "invalid choice: 'spark'"),
        (("--widths", "10000000", "--batch_sizes", "8"), "width 10000000"),
        (("--output", "file"), "file"),
        (("--width", "8"), "width"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_are_one_sentence(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """Exit code 2, the value and the way out; nothing on stdout, and no traceback."""
    (tmp_path / "file").write_text("no folder")
    code, out, err = run(tmp_path, "map", *DATA, *words)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) <= 3
