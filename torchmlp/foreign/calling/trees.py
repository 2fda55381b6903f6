"""The numbers in a structure of any kind: where they lie, what they are called, how to set them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchmlp.foreign.calling import words
from torchmlp.foreign.calling.layouts import Array, as_array

DEPTH = 8  # of nesting; more is no network's parameters
Path = tuple[Any, ...]


@dataclass
class Leaf:
    """An array somewhere in a structure.

    Attributes:
        path: the keys, indices and attribute names that lead to it.
        get: reads it, as an array of float64, a copy.
        set: writes it, in place where that can be.
    """

    path: Path
    get: Callable[[], Array]
    set: Callable[[Array], None]

    @property
    def name(self) -> str:
        """The last name on the way to it."""
        return next((step for step in reversed(self.path) if isinstance(step, str)), "")

    def __str__(self) -> str:
        """As one would write it: weights[0], params['W1']."""
        text = ""
        for step in self.path:
            text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{step}"
        return text


class Box:
    """What holds a structure that may be exchanged for another one of its kind."""

    def __init__(self, content: Any) -> None:
        self.content = content


def leaves(root: Any) -> list[Leaf]:
    """Every array of numbers in a structure of dicts, lists, tuples and objects, in its order.

    Rows that lie in objects or dicts of their own (a neuron's weights) are taken together. In a
    `Box` they are looked for in what it holds at the time.
    """
    inside = _Place(lambda: root.content if isinstance(root, Box) else root, None)
    return _gathered(list(_walk(inside, (), set(), 0)))


@dataclass(frozen=True)
class _Place:
    """Where a value lies: read again at each look, for programs replace their arrays."""

    get: Callable[[], Any]
    put: Callable[[Any], None] | None


def _item(parent: _Place, key: Any) -> _Place:
    def put(value: Any) -> None:
        parent.get()[key] = value

    fixed = isinstance(parent.get(), tuple)
    return _Place(lambda: parent.get()[key], None if fixed else put)


def _attribute(parent: _Place, name: str) -> _Place:
    return _Place(
        lambda: getattr(parent.get(), name), lambda value: setattr(parent.get(), name, value)
    )


def _walk(place: _Place, path: Path, seen: set[int], depth: int) -> Iterator[Leaf]:
    value = place.get()
    if depth > DEPTH or value is None or isinstance(value, (str, bytes, bool, type)):
        return
    if _is_numbers(value):
        yield Leaf(path, *_accessors(place))
        return
    if isinstance(value, (int, float)):
        put = place.put
        if isinstance(value, float) and put is not None and path:
            yield Leaf(path, lambda: np.asarray(float(place.get())), lambda a: put(float(a)))
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    for step, part in _parts(place, value):
        yield from _walk(part, (*path, step), seen, depth + 1)


def _parts(place: _Place, value: Any) -> Iterator[tuple[Any, _Place]]:
    """The entries of a container, the attributes of an object."""
    if isinstance(value, dict):
        yield from ((key, _item(place, key)) for key in list(value))
    elif isinstance(value, (list, tuple)):
        yield from ((k, _item(place, k)) for k in range(len(value)))
    elif (hasattr(value, "__dict__") and not callable(value)) or _is_layer(value):
        yield from ((name, _attribute(place, name)) for name in list(vars(value)))


def _is_layer(value: Any) -> bool:
    """An object that can be called, but is no function, module or class."""
    kind = type(value)
    return hasattr(value, "__dict__") and kind.__module__ not in ("builtins", "numpy", "functools")


def _is_numbers(value: Any) -> bool:
    """Whether a value is an array, a tensor, or a list of floats or of lists of them."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fiu" and value.ndim > 0
    if hasattr(value, "detach") and hasattr(value, "dtype"):
        return bool(value.dtype.is_floating_point) and value.ndim > 0
    if isinstance(value, (list, tuple)) and value:
        first = value[0]
        if (
            isinstance(first, (list, tuple))
            and first
            and isinstance(first[0], (float, int, np.floating))
        ):
            flat = [part for row in value if isinstance(row, (list, tuple)) for part in row]
            return len(
                {len(r) if isinstance(r, (list, tuple)) else -1 for r in value}
            ) == 1 and _floats(flat)
        return _floats(value)
    return False


def _floats(values: Sequence[Any]) -> bool:
    kinds = {type(v) for v in values}
    return bool(kinds & {float, np.float64, np.float32}) and kinds <= {
        float,
        int,
        np.float64,
        np.float32,
    }


def _accessors(place: _Place) -> tuple[Callable[[], Array], Callable[[Array], None]]:
    put = place.put

    def get() -> Array:
        array = as_array(place.get())
        assert array is not None
        return np.array(array)

    def write(array: Array) -> None:
        value = place.get()
        if hasattr(value, "detach"):
            import torch  # noqa: PLC0415  it is the program's tensor

            value.data.copy_(torch.as_tensor(array))
        elif isinstance(value, list):
            _write_list(value, array.tolist())
        elif isinstance(value, np.ndarray) and _takes(value, array):
            value[...] = array
        elif put is not None:
            put(
                array.astype(float)
                if isinstance(value, np.ndarray)
                else type(value)(array.tolist())
            )

    return get, write


def _takes(value: Array, array: Array) -> bool:
    """Whether an array can be written into another, none of its digits lost."""
    return value.dtype.kind == "f" and value.shape == array.shape and bool(value.flags.writeable)


def _write_list(value: list[Any], new: list[Any]) -> None:
    for k, row in enumerate(new):
        if isinstance(row, list) and isinstance(value[k], list):
            value[k][:] = row
        else:
            value[k] = row


def _gathered(found: list[Leaf]) -> list[Leaf]:
    """Rows and single numbers that lie one by one, as matrices and vectors."""

    def key(leaf: Leaf) -> tuple[Any, ...]:
        size = leaf.get().shape
        places = [k for k, step in enumerate(leaf.path) if isinstance(step, int)]
        is_row = len(size) < 2 and places and isinstance(leaf.path[-1], str)  # noqa: PLR2004  axes of a matrix
        if not is_row:
            return (leaf.path, "alone")
        return (*leaf.path[: places[-1]], "*", *leaf.path[places[-1] + 1 :])

    rows: dict[tuple[Any, ...], list[Leaf]] = {}
    for leaf in found:
        rows.setdefault(key(leaf), []).append(leaf)
    whole: list[Leaf] = []
    for name, group in rows.items():
        if name[-1] == "alone" or len({leaf.get().shape for leaf in group}) > 1:
            whole += group
        elif len(group) == 1 and group[0].get().ndim:
            whole += group if not _is_neuron(group[0]) else [_stacked(name, group)]
        else:
            whole.append(_stacked(name, group))
    return [leaf for leaf in whole if leaf.get().ndim > 0]


def _is_neuron(leaf: Leaf) -> bool:
    """A row of weights that is a neuron's own, the only one of its layer."""
    indices = sum(isinstance(step, int) for step in leaf.path)
    return indices >= 2 and words.role(leaf.name) in ("weights", "weight")  # noqa: PLR2004  axes of a matrix


def _stacked(name: tuple[Any, ...], group: list[Leaf]) -> Leaf:
    def write(array: Array) -> None:
        for leaf, row in zip(group, array, strict=True):
            leaf.set(np.asarray(row))

    return Leaf(
        tuple(step for step in name if step != "*"),
        lambda: np.array([leaf.get() for leaf in group]),
        write,
    )
