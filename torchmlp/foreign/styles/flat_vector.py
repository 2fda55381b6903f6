"""All parameters in one vector, with the sizes of the layers beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from torchmlp.foreign.calling import words
from torchmlp.foreign.calling.binding import signature
from torchmlp.foreign.calling.layouts import Array, Form, Layout, as_array
from torchmlp.foreign.calling.slots import Slots
from torchmlp.foreign.calling.trees import Leaf, leaves
from torchmlp.foreign.styles.structure import Build, Structure, sizes


@dataclass
class FlatSlots(Slots):
    """Slots in one vector: pieces of it, each raveled."""

    vector: Leaf | None = None
    shapes: Sequence[tuple[tuple[int, ...], int]] = ()  # (shape, layer * 2 + is_bias), in order
    order: str = "C"

    def all(self) -> list[Leaf]:
        """The vector."""
        assert self.vector is not None
        return [self.vector]

    def set(self, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        """Write canonical parameters."""
        pieces = []
        for _, place in self.shapes:
            own, row = self.layout.pack(weights[place // 2], biases[place // 2])
            piece = row if place % 2 else own
            assert piece is not None
            pieces.append(piece.ravel(order=self.order))  # type: ignore[arg-type]  # "C" or "F"
        assert self.vector is not None
        self.vector.set(np.concatenate(pieces).reshape(self.vector.get().shape))

    def canonical(self, values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """A gradient in one vector as (weights, biases), canonical."""
        flat = as_array(values[0])
        assert flat is not None
        flat, start = flat.ravel(), 0
        pieces: dict[int, Array] = {}
        for shape, place in self.shapes:
            size = int(np.prod(shape))
            pieces[place] = flat[start : start + size].reshape(shape, order=self.order)  # type: ignore[call-overload]  # "C" or "F"
            start += size
        depth = 1 + max(place // 2 for place in pieces)
        pairs = [self.layout.unpack(pieces[2 * k], pieces.get(2 * k + 1)) for k in range(depth)]
        return [w for w, _ in pairs], [b for _, b in pairs]


def flat_structures(targets: Sequence[Callable[..., Any]]) -> list[Structure]:
    """One vector, with sizes as arguments beside it."""
    for target in targets:
        found = signature(target)
        names = found.required if found else ()
        roles = [words.size_role(name) for name in names]
        has_sizes = "sizes" in roles or {"inputs", "outputs"} <= set(roles)
        if not has_sizes or not any(
            words.role(n) in ("params", "weights", "weight") for n in names
        ):
            continue
        return [
            Structure(
                _flat_build(layout, order, together), None, f"one vector: {layout}, {order} order"
            )
            for order in ("C", "F")
            for layout in (
                Layout(False, "first"),
                Layout(True, "first"),
                Layout(False, "last"),
                Layout(True, "vector"),
                Layout(False, "vector"),
                Layout(True, "last"),
            )
            for together in ((False,) if layout.is_merged else (False, True))
        ]
    return []


def _flat_build(layout: Layout, order: str, together: bool) -> Build:
    def build(widths: Sequence[int], form: Form) -> tuple[dict[str, Any], Slots]:
        shapes: list[tuple[tuple[int, ...], int]] = []
        for k, (fan_in, fan_out) in enumerate(pairwise(widths)):
            weight, bias = layout.pack(np.ones((fan_out, fan_in)), np.ones(fan_out))
            shapes.append((weight.shape, 2 * k))
            if bias is not None:
                shapes.append((bias.shape, 2 * k + 1))
        if together:
            shapes.sort(key=lambda piece: (piece[1] % 2, piece[1]))
        size = sum(int(np.prod(shape)) for shape, _ in shapes)
        vector = form.boxed(np.ones(size))
        values: dict[str, Any] = {
            "params": vector,
            "weights": vector,
            "weight": vector,
            **sizes(widths),
        }
        (leaf,) = leaves({"params": vector})
        base = Slots([], [], layout)
        return values, FlatSlots(**{**vars(base), "vector": leaf, "shapes": shapes, "order": order})

    return build
