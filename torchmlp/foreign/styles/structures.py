"""Parameters that are handed over: dicts, lists, arguments of their own, one flat vector."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from torchmlp.foreign.calling import words
from torchmlp.foreign.calling.binding import keys_of, returned_names, role_in, signature
from torchmlp.foreign.calling.layouts import LAYOUTS, Form, Layout
from torchmlp.foreign.calling.slots import Finder, Slots
from torchmlp.foreign.calling.trees import Leaf, Path, leaves
from torchmlp.foreign.styles.flat_vector import flat_structures
from torchmlp.foreign.styles.makers import made
from torchmlp.foreign.styles.structure import Build, Structure


def structures(
    functions: Mapping[str, Callable[..., Any]],
    targets: Sequence[Callable[..., Any]],
    classes: Mapping[str, type],
) -> Iterator[Structure]:
    """Every form in which some functions may take their parameters, the likeliest first.

    Args:
        functions: all functions of the file, by name: an initialiser may be among them.
        targets: the ones to be called.
        classes: those of the file: an instance may be what the functions take.
    """
    for name, function in functions.items():
        if words.INITIAL.search(name.lower()) and name not in {t.__name__ for t in targets}:
            finder = Finder()
            for find in (finder, finder.other()):
                yield Structure(_initialised(function, find), None, f"made by {name}")
    for name, kind in classes.items():
        yield Structure(_initialised(kind, Finder()), None, f"an instance of {name}")
    flat = flat_structures(targets)
    yield from flat
    if flat:
        return
    yield from _numbered(targets)
    yield from _listed(targets)
    yield from _single(targets)
    yield from _keyed(targets)


def _initialised(function: Callable[..., Any], find: Finder) -> Build:
    def build(widths: Sequence[int], form: Form) -> tuple[dict[str, Any], Slots]:
        del form
        result = made(function, widths, {"quiet": False})
        names = returned_names(function)
        values: dict[str, Any] = {"params": result}
        root: Any = result
        if isinstance(result, tuple) and len(names) == len(result) and all(names):
            root = dict(zip(names, result, strict=True))
            values |= root
            for name, value in root.items():
                values.setdefault(words.role(name) or name, value)
        elif isinstance(result, tuple):
            root = dict(zip(("weights", "biases"), result, strict=False))
            values |= root
        return values, find(root, widths)

    return build


def _layer_values(widths: Sequence[int], layout: Layout, form: Form) -> list[tuple[Any, Any]]:
    """Places for the parameters of each layer, in the program's own boxes."""
    made = []
    for fan_in, fan_out in pairwise(widths):
        weight, bias = layout.pack(np.ones((fan_out, fan_in)), np.ones(fan_out))
        made.append((form.boxed(weight), None if bias is None else form.boxed(bias)))
    return made


def _slots(values: Any, order: Sequence[tuple[Any, Any]], layout: Layout) -> Slots:
    """The slots whose leaves are named, in order, by their paths in `values`."""
    by_path = {leaf.path: leaf for leaf in leaves(values)}
    biases: list[Leaf | None] = [None if b is None else by_path[b] for _, b in order]
    return Slots([by_path[w] for w, _ in order], biases, layout)


def _layouts(*, merged: bool = True, has_biases: bool = True) -> list[Layout]:
    return [
        layout
        for layout in LAYOUTS
        if (merged or not layout.is_merged)
        and (has_biases == (layout.bias not in ("none", "first", "last")))
    ]


def _numbered(targets: Sequence[Callable[..., Any]]) -> Iterator[Structure]:
    """W1, b1, W2, b2 as parameters of their own."""
    names: list[str] = []
    for target in targets:
        found = signature(target)
        names += [n for n in (found.names if found else ()) if words.numbered(n) and n not in names]
    weights = _in_order([n for n in names if words.numbered(n)[0] == "weight"])  # type: ignore[index]  # each has one
    biases = _in_order([n for n in names if words.numbered(n)[0] == "bias"])  # type: ignore[index]  # each has one
    if not weights or (biases and len(biases) != len(weights)):
        return
    for layout in _layouts(has_biases=bool(biases)):
        yield Structure(
            _by_names(weights, biases, layout, None), len(weights), f"{', '.join(names)}: {layout}"
        )


def _in_order(names: Sequence[str]) -> list[str]:
    places = [words.numbered(name)[1] for name in names]  # type: ignore[index]  # each has one
    if all(place.isdigit() for place in places):
        return [name for _, name in sorted(zip(map(int, places), names, strict=True))]
    return list(names)


def _by_names(
    weights: Sequence[str], biases: Sequence[str], layout: Layout, key: str | None
) -> Build:
    def build(widths: Sequence[int], form: Form) -> tuple[dict[str, Any], Slots]:
        if len(widths) != len(weights) + 1:
            raise ValueError("another number of layers")
        values: dict[str, Any] = {}
        for k, (weight, bias) in enumerate(_layer_values(widths, layout, form)):
            values[weights[k]] = weight
            if biases:
                values[biases[k]] = bias
        order = [((w,), (biases[k],) if biases else None) for k, w in enumerate(weights)]
        slots = _slots(values, order, layout)
        if key is None:
            return values, slots
        return {key: values, "params": values}, slots

    return build


def _listed(targets: Sequence[Callable[..., Any]]) -> Iterator[Structure]:
    """Weights and biases as two lists, or weights alone."""
    names: dict[str, str] = {}
    for target in targets:
        found = signature(target)
        for name in found.names if found else ():
            if words.role(name) in ("weights", "biases"):
                names.setdefault(words.role(name) or "", name)
    if "weights" not in names:
        return
    for layout in _layouts(has_biases="biases" in names):

        def build(
            widths: Sequence[int], form: Form, layout: Layout = layout
        ) -> tuple[dict[str, Any], Slots]:
            made = _layer_values(widths, layout, form)
            values: dict[str, Any] = {"weights": [w for w, _ in made]}
            if "biases" in names:
                values["biases"] = [b for _, b in made]
            order = [
                (("weights", k), ("biases", k) if "biases" in names else None)
                for k in range(len(made))
            ]
            return values, _slots(values, order, layout)

        yield Structure(build, None, f"lists {', '.join(names.values())}: {layout}")


def _single(targets: Sequence[Callable[..., Any]]) -> Iterator[Structure]:
    """W and b of one layer."""
    names = {
        words.role(n): n
        for t in targets
        for n in _names(t)
        if words.role(n) in ("weights", "biases")
    }
    if "weights" not in names:
        return
    for layout in _layouts(has_biases="biases" in names):
        biases = [names["biases"]] if "biases" in names else []
        build = _by_names([names["weights"]], biases, layout, None)
        yield Structure(build, 1, f"one layer, {', '.join(names.values())}: {layout}")


def _names(function: Callable[..., Any]) -> Sequence[str]:
    found = signature(function)
    return found.names if found else ()


def _keyed(targets: Sequence[Callable[..., Any]]) -> Iterator[Structure]:
    """A dict by the keys that the functions take out of it; else a list of all, or of pairs."""
    argument: str | None = None
    whole: list[str] = []
    begun: list[str] = []
    for target in targets:
        found = signature(target)
        for name in found.names if found else ():
            if role_in(target, name) == "params":
                argument = argument or name
                mine, starts = keys_of(target, name)
                whole += [k for k in mine if k not in whole]
                begun += [k for k in starts if k not in begun]
    if argument is None:
        return
    if begun:
        whole += [f"{start}{k}" for k in (1, 2) for start in begun if f"{start}{k}" not in whole]
    kinds = {key: words.numbered(key) for key in whole}
    weights = _in_order([k for k, kind in kinds.items() if kind and kind[0] == "weight"])
    biases = _in_order([k for k, kind in kinds.items() if kind and kind[0] == "bias"])
    if weights and len(biases) in (0, len(weights)):
        for layout in _layouts(has_biases=bool(biases)):
            text = f"{argument} with keys {', '.join([*weights, *biases])}: {layout}"
            yield Structure(_by_names(weights, biases, layout, argument), len(weights), text)
        return
    names = [k for k in whole if words.role(k) in ("weights", "biases", "weight", "bias")]
    lists = (names[0], names[1]) if len(names) == 2 else ("weights", "biases")  # noqa: PLR2004  both of them
    for layout in _layouts():
        for shape in ("two lists", "pairs", "dicts", "all in one list"):
            yield Structure(_boxed(layout, shape, lists), None, f"{argument} as {shape}: {layout}")


def _boxed(layout: Layout, shape: str, lists: tuple[str, str]) -> Build:
    """Layers in a list or a dict of lists, of some shape."""
    w_name, b_name = lists

    def build(widths: Sequence[int], form: Form) -> tuple[dict[str, Any], Slots]:
        made = _layer_values(widths, layout, form)
        count = range(len(made))
        values: Any
        order: list[tuple[Path, Path]]
        if shape == "two lists":
            values = {w_name: [w for w, _ in made], b_name: [b for _, b in made]}
            order = [((w_name, k), (b_name, k)) for k in count]
        elif shape == "pairs":
            values = [list(pair) for pair in made]
            order = [((k, 0), (k, 1)) for k in count]
        elif shape == "dicts":
            keys = (("W", "b"), ("w", "b"), ("weights", "biases"), ("weight", "bias"))
            values = [
                {n: part for w_b in keys for n, part in zip(w_b, m, strict=True)} for m in made
            ]
            order = [((k, "W"), (k, "b")) for k in count]
        else:
            values = [part for pair in made for part in pair]
            order = [((2 * k,), (2 * k + 1,)) for k in count]
        return {"params": values}, _slots(values, order, layout)

    return build
