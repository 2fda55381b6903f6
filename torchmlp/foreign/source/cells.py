"""The code of a .py file or of a notebook, in cells that are compiled each by itself."""

import ast
import json
import linecache
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 24  # of source code: far more than anybody writes
_MAGIC = re.compile(r"^\s*[%!?]|^[^#'\"]*\?\s*$")  # what IPython reads and Python does not


class SourceError(Exception):
    """A file that holds no Python code that can be read; the message says where."""


@dataclass(frozen=True)
class Cell:
    """A piece of code.

    Attributes:
        filename: what a traceback calls it: the file's path, or "net.ipynb, cell 3".
        text: its source.
        tree: the same, parsed.
    """

    filename: str
    text: str
    tree: ast.Module


def read_cells(path: Path) -> list[Cell]:
    """The cells of a file; a .py file is one.

    Raises:
        SourceError: no file, no text, or a syntax error, with its line.
    """
    try:
        if not path.is_file():
            raise SourceError(f"no file at {path}")
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise SourceError(f"{path} holds {len(data)} bytes, more than {MAX_BYTES}: no source code")
    is_notebook = path.suffix == ".ipynb"
    pieces = _notebook(path, data) if is_notebook else [(str(path), _text(path, data))]
    return [_parsed(filename, text) for filename, text in pieces]


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"{path} is no text in UTF-8, as Python reads it") from None


def _notebook(path: Path, data: bytes) -> list[tuple[str, str]]:
    try:
        cells: list[Any] = json.loads(_text(path, data))["cells"]
        code = [
            (number, "".join(cell["source"]))
            for number, cell in enumerate(cells, 1)
            if cell["cell_type"] == "code"
        ]
    except (ValueError, KeyError, TypeError):
        raise SourceError(f"{path} is no notebook: expected JSON with a list of cells") from None
    if not code:
        raise SourceError(f"{path} has no cell with code")
    return [(f"{path}, cell {number}", _without_magic(text)) for number, text in code]


def _without_magic(text: str) -> str:
    if text.lstrip().startswith("%%"):
        return ""  # the whole cell is another language's
    lines = [re.match(r"\s*", line)[0] + "pass" if _MAGIC.match(line) else line  # type: ignore[index]  # every line has one
             for line in text.splitlines()]  # fmt: skip
    return "\n".join(lines)


def _parsed(filename: str, text: str) -> Cell:
    try:
        tree = ast.parse(text, filename)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        what = getattr(error, "msg", None) or str(error)
        where = "" if line is None else f", line {line}"
        raise SourceError(
            f"{filename}{where}: {what}; Python {_version()} cannot read it"
        ) from None
    # Tracebacks and the inspect module find the text of a cell here.
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    return Cell(filename, text, tree)


def _version() -> str:
    import sys  # noqa: PLC0415  for one message

    return f"{sys.version_info[0]}.{sys.version_info[1]}"
