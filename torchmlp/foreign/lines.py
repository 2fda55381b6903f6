"""Which line of somebody's code forms a gradient, or the delta it is formed of."""

import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from torchmlp.foreign.calling.layouts import Array, as_array

ENTRIES = 64  # of a list or a dict that are looked at


def formed_at(
    call: Callable[[], Any],
    wanted: dict[str, Array],
    sums: dict[str, Array],
    rows: int,
    files: Sequence[str],
) -> dict[str, str]:
    """Where arrays come up first while something runs.

    Args:
        call: what is run.
        wanted: arrays by name.
        sums: bias gradients by name: what is looked for is the delta that they are the sum of over
            the batch, or the mean.
        rows: the batch size.
        files: names of the files whose lines are meant.

    Returns:
        "FILE, line N: text" by name; only for what was found.
    """
    found: dict[str, str] = {}

    def look(frame: Any, line: int) -> None:
        arrays = [a for v in _values(frame.f_locals) if (a := as_array(v)) is not None and a.size]
        for looked_for, is_it in ((wanted, _same), (sums, partial(_sums_to, rows=rows))):
            for name, its in looked_for.items():
                if name not in found and any(is_it(array, its) for array in arrays):
                    found[name] = _shown(frame.f_code.co_filename, line)

    lines: dict[int, int] = {}  # of each frame: the line that has just run

    def trace(frame: Any, event: str, argument: Any) -> Any:
        del argument
        if frame.f_code.co_filename not in files:
            return None
        if event in ("line", "return") and id(frame) in lines:
            look(frame, lines[id(frame)])
        lines[id(frame)] = frame.f_lineno
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return found


def _values(local: dict[str, Any]) -> Iterator[Any]:
    """The values of a frame, with the entries of lists, dicts and objects among them."""
    for value in list(local.values()):
        yield value
        inner: Any = ()
        if isinstance(value, dict):
            inner = list(value.values())
        elif isinstance(value, (list, tuple)) and value and not isinstance(value[0], (int, float)):
            inner = list(value)
        elif hasattr(value, "__dict__") and not callable(value):
            inner = list(vars(value).values())
        for part in inner[:ENTRIES]:
            yield part
            if isinstance(part, dict):
                yield from list(part.values())[:ENTRIES]
            elif isinstance(part, list) and part and not isinstance(part[0], (int, float)):
                yield from part[:ENTRIES]


def _same(array: Array, its: Array) -> bool:
    size = float(np.linalg.norm(its))
    if array.size != its.size or size == 0:
        return False
    if abs(float(np.linalg.norm(array)) - size) > 1e-9 * size:
        return False
    return np.allclose(np.sort(array, None), np.sort(its, None), rtol=1e-9, atol=1e-12 * size)


def _sums_to(array: Array, its: Array, rows: int) -> bool:
    """Whether an array, (B, n) or (n, B), sums over the batch to a bias gradient, 1/B apart."""
    size = float(np.linalg.norm(its))
    if size == 0 or array.size != rows * its.size or (array.ndim != 2 and rows > 1):  # noqa: PLR2004  axes of a matrix
        return False
    shaped = array if array.ndim == 2 else array[None]  # noqa: PLR2004  axes of a matrix
    for axis in (0, 1):
        total = shaped.sum(axis)
        if total.size != its.size:
            continue
        for times in (1.0, rows, 1 / rows):
            if np.linalg.norm(total * times - its.ravel()) <= 1e-9 * size:
                return True
    return False


def _shown(file: str, line: int) -> str:
    return f"{file}, line {line}: {linecache.getline(file, line).strip()}"
