"""The results of a map as a file: a line for each cell, written as it finishes."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from torchmlp._runtime.atomic_file import sweep, write_atomically
from torchmlp.stability.map.cell import OUTCOMES, Cell, CellResult

CELLS, SETTINGS, LOCK = "cells.jsonl", "settings.json", ".lock"
OTHER = "another --output"
_KINDS: dict[str, Any] = {f.name: f.type for owner in (Cell, CellResult) for f in fields(owner)}
del _KINDS["cell"]
_OPTIONAL = ("first_loss", "loss", "accuracy", "largest_rate")


class ResultsError(RuntimeError):
    """The results of a map cannot be read or written; says which file, why, and the way out."""


class Results:
    """The cells that are finished, in a folder that survives any end of the program.

    Every line is handed to the operating system before `add` returns; one that a kill has cut is
    dropped by whoever opens the folder next. The folder is locked until `close`, for one writer at
    a time. A child made by fork shares the lock and keeps it; one made by spawn does not.

    Args:
        folder: made if need be. It gets cells.jsonl and settings.json.
        settings: what all cells share, as JSON can hold it. A folder with others is refused.

    Attributes:
        finished: the results so far, by cell.
        dropped: what was dropped when the folder was opened, in words; "" for nothing.

    Raises:
        ResultsError: a folder that cannot be written or is being written, other settings, or a
            line that is no cell and not the last.
    """

    def __init__(self, folder: Path | str, settings: Mapping[str, Any]) -> None:
        self.folder, self.dropped = Path(folder), ""
        self.path = self.folder / CELLS
        self.finished: dict[Cell, CellResult] = {}
        self._lock = FileLock(self.folder / LOCK, thread_local=False)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            sweep(self.folder)
            # Without a buffer, so that a full disk leaves nothing to be written later.
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise ResultsError(_cannot("write", self.path, error)) from error
        try:
            self._acquire()
            self._compare(settings)
            self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Results":  # noqa: PYI034  beartype knows Self in decorated classes only
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write here."""
        self._file.close()
        self._lock.release()

    def add(self, result: CellResult) -> None:
        """Append a finished cell; numbers that are not finite become None.

        Raises:
            ResultsError: the file cannot be written. It then holds what it held before.
        """
        values = result.to_json()
        for name in _OPTIONAL:
            if not math.isfinite(values[name] or 0.0):
                values[name] = None
        line = json.dumps(values, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        end = self.path.stat().st_size
        try:
            written, reason = self._file.write(line), "no space left on the device"
        except OSError as error:
            written, reason = 0, str(error.strerror or error)
        if written != len(line):
            with suppress(OSError):  # the first error is the one to tell
                self._file.truncate(end)
            raise ResultsError(f"cannot write {self.path} ({reason}); give {OTHER}")
        result = CellResult.from_json(values)
        self.finished[result.cell] = result

    def _acquire(self) -> None:
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise ResultsError(
                f"another map is being written to {self.folder}; wait for its end, or give {OTHER}"
            ) from error
        except OSError as error:
            raise ResultsError(_cannot("lock", self.path, error)) from error

    def _compare(self, settings: Mapping[str, Any]) -> None:
        """Write the settings, or compare them with those that are there."""
        path = self.folder / SETTINGS
        text = json.dumps(dict(settings), indent=2, ensure_ascii=False, allow_nan=False)
        if not path.exists():
            if self.path.stat().st_size:
                raise ResultsError(
                    f"{self.folder} holds {CELLS} without the {SETTINGS} they were trained with; "
                    f"remove it, or give {OTHER}"
                )
            try:
                write_atomically(path, text)
            except OSError as error:
                raise ResultsError(_cannot("write", path, error)) from error
        try:
            there = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ResultsError(_cannot("read", path, error)) from error
        for key, old, new in _differences(there, json.loads(text)):
            raise ResultsError(
                f"{self.folder} holds a map of other settings: {key or 'the file'} is {old} there "
                f"and {new} here; give {OTHER}, or remove that folder"
            )

    def _read(self) -> None:
        self._file.seek(0)
        *lines, rest = self._file.readall().split(b"\n")
        end = sum(len(line) + 1 for line in lines)
        broken = "it was cut" if rest else ""
        for number, line in enumerate(lines, 1):
            try:
                result = _result(line)
            except (ValueError, RecursionError) as error:
                # An unclean shutdown of the machine can leave a last line that is whole and void.
                if number < len(lines) or rest:
                    raise ResultsError(
                        f"{self.path}, line {number}, is not a cell of a map ({error}); "
                        f"remove the line, or give {OTHER}"
                    ) from error
                end -= len(line) + 1
                broken = str(error)
                continue
            self.finished[result.cell] = result
        if broken:
            self._file.truncate(end)
            self.dropped = (
                f"dropped the last line of {self.path}, half written ({broken}); kept "
                f"{len(self.finished)} cells"
            )


def _result(line: bytes) -> CellResult:
    """The line's cell; raises ValueError where it holds none."""
    values = json.loads(line, parse_constant=_no_number)
    if not isinstance(values, dict) or values.keys() != _KINDS.keys():
        raise ValueError("it has other fields")
    for name, kind in _KINDS.items():
        if type(values[name]) is int and isinstance(0.0, kind):
            values[name] = float(values[name])
        if not isinstance(values[name], kind):
            raise ValueError(f"{name} is {values[name]!r}")  # noqa: TRY004  as what is no JSON
    if values["outcome"] not in OUTCOMES:
        raise ValueError(f"outcome is {values['outcome']!r}")
    return CellResult.from_json(values)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _differences(there: Any, here: Any, key: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, value there and value here of each setting that differs."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in {**here, **there}:
            inner = f"{key}.{name}" if key else name
            yield from _differences(there.get(name, _ABSENT), here.get(name, _ABSENT), inner)
    elif there != here:
        old, new = ("absent" if v is _ABSENT else json.dumps(v) for v in (there, here))
        yield key, old, new


_ABSENT = object()


def _cannot(what: str, path: Path, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or error
    return f"cannot {what} {path} ({reason}); give {OTHER}"
