"""`train.py map`, as a user meets it."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from cli.command_line import ROOT, run, start, wait_for

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
def test_a_map_is_drawn_and_not_drawn_twice(tmp_path: Path) -> None:
    """The plan, the table, the causes, one sentence of advice, and the files; the same command
    again trains nothing and says the same."""
    code, out, err = run(tmp_path, *FOUR)
    assert (code, err) == (0, "")
    without, *lines = out.splitlines()
    assert without == "without dropout 0.3, input_dropout 0.2, max_shift 1, OneCycle"
    assert lines[0].startswith("4 cells in ")
    assert "GB" in lines[0]
    assert lines[-1] == f"map {OUTPUT} (cells.jsonl, batch_32.png and .svg)"
    assert lines[-2].startswith("Width 512 is not on the map; beside it, at width 16 and batch 32")
    assert "\ncauses\n" in out
    assert max(map(len, lines[:-2])) <= 80
    cells = lines_of(tmp_path / OUTPUT)
    assert len(cells) == 4
    assert all(c["outcome"] in ("nan", "diverged", "stuck") for c in cells if c["lr"] > 1)
    assert all(c["first_loss"] > 2 and c["cause"] for c in cells)
    for suffix in ("png", "svg"):
        assert (tmp_path / OUTPUT / f"batch_32.{suffix}").stat().st_size > 10_000
    again = run(tmp_path, *FOUR)
    assert again.code == 0
    _, first, *rest = again.out.splitlines()
    assert first == f"4 of 4 cells are in {OUTPUT}/cells.jsonl already"
    assert rest == [line for line in lines[1:] if " left" not in line]
    assert lines_of(tmp_path / OUTPUT) == cells


@pytest.mark.slow
def test_a_line_half_written_is_dropped(tmp_path: Path) -> None:
    """What a kill has cut is dropped with a word, trained again, and the rest kept."""
    assert run(tmp_path, *FOUR).code == 0
    path = tmp_path / OUTPUT / "cells.jsonl"
    before = lines_of(tmp_path / OUTPUT)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[:-30], encoding="utf-8")
    code, out, err = run(tmp_path, *FOUR)
    assert (code, err) == (0, "")
    assert out.splitlines()[1].startswith(
        f"dropped the last line of {OUTPUT}/cells.jsonl, half written"
    )
    assert "3 of 4 cells are in" in out
    assert without_seconds(lines_of(tmp_path / OUTPUT)) == without_seconds(before)


def cells_of_a_long_map() -> tuple[object, ...]:
    return (*MAP, "--widths", "8", "16", "24", "32", "--lrs", "0.01:1e7:5log", "--workers", "2")


def started(folder: Path, count: int) -> subprocess.Popen[str]:
    """A long map that has finished `count` of its cells."""
    process = start(folder, *cells_of_a_long_map())
    path = folder / OUTPUT / "cells.jsonl"
    for _ in range(1200):
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return process
        assert process.poll() is None, wait_for(process)
        time.sleep(0.1)
    raise AssertionError("no cell was finished in two minutes")


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_a_cut_map_goes_on(tmp_path: Path, by: signal.Signals) -> None:
    """Ctrl-C and kill -9: what is finished is kept and never trained again; a Ctrl-C ends with 130
    and one sentence."""
    process = started(tmp_path, 2)
    process.send_signal(by)
    result = wait_for(process)
    kept = lines_of(tmp_path / OUTPUT)
    assert 2 <= len(kept) < 20
    if by == signal.SIGINT:
        assert result.code == 130
        assert result.err == (
            f"interrupted\n{len(kept)} of 20 cells are kept in {OUTPUT}/cells.jsonl; the same "
            f"command goes on from there\n"
        )
    again = run(tmp_path, *cells_of_a_long_map())
    assert again.code == 0, again.err
    assert (
        again.out.splitlines()[1] == f"{len(kept)} of 20 cells are in {OUTPUT}/cells.jsonl already"
    )
    cells = lines_of(tmp_path / OUTPUT)
    assert cells[: len(kept)] == kept
    assert len({(c["width"], c["lr"]) for c in cells}) == len(cells) == 20


@pytest.mark.slow
def test_ray_draws_the_same_map(tmp_path: Path) -> None:
    """Cell by cell, but for the seconds."""
    pytest.importorskip("ray", reason="Ray is an extra")
    assert run(tmp_path, *FOUR, "--output", "pool").code == 0
    process = start(tmp_path, *FOUR, "--output", "ray", "--engine", "ray", "--workers", "2")
    result = wait_for(process, 300)
    assert result.code == 0, result.err
    assert without_seconds(lines_of(tmp_path / "ray")) == without_seconds(
        lines_of(tmp_path / "pool")
    )


@pytest.mark.slow
def test_the_origins_map_has_nan(tmp_path: Path) -> None:
    """The network that this package began with: nan for some widths and rates, no learning for the
    others, and the cause that its diagnosis gives."""
    code, out, err = run(
        tmp_path, "map", "--config", ROOT / "configs" / "origin.yaml", "--widths", 32, 1000,
        "--batch_sizes", 20, "--lrs", 0.1, 1, "--steps", 20,
    )  # fmt: skip
    assert (code, err) == (0, "")
    cells = {(c["width"], c["lr"]): c for c in lines_of(tmp_path / OUTPUT)}
    assert (cells[1000, 1.0]["outcome"], cells[1000, 1.0]["step"]) == ("nan", 2)
    assert "nan@2" in out
    assert {cells[32, 0.1]["outcome"], cells[1000, 0.1]["outcome"]} <= {"stuck", "diverged"}
    assert cells[1000, 1.0]["cause"] in ("init-not-centred", "unstable-softmax")
    assert "At width 1000 and batch 20" in out


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


@pytest.mark.slow
def test_other_settings_are_refused(tmp_path: Path) -> None:
    """A folder that holds a map of other settings is named, and what differs."""
    assert run(tmp_path, *FOUR).code == 0
    code, _, err = run(tmp_path, *FOUR, "--steps", 30)
    assert code == 2
    assert "steps is 20 there and 30 here" in err
    assert "another --output" in err
