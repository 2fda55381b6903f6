"""Where a network's parameters lie in a structure: layers that follow each other."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from torchmlp.foreign.calling import words
from torchmlp.foreign.calling.layouts import Array, Layout
from torchmlp.foreign.calling.trees import Leaf, Path, leaves

# Attributes that hold numbers of a parameter's shape and are none.
_NO_PARAMETER = re.compile(
    r"^_?(d_?[wb]|d_?(weight|bias)|grad|nabla|delta|v_?d?[wb]|m_?d?[wb]|s_?d?[wb]|velocit|moment|"
    r"mom|cache|last|prev|old|change|err|acc|sum|x$|y$|z$|a$|z\d|a\d|input|output|target|loss|cost|"
    r"hist|in$|out$|dx|dinput|opt|best|mask|act|h$|h\d|hidden$|o$|layer\d|pre)"
)
_HELD_BESIDE = re.compile(r"grad|nabla|delta|veloc|moment|cache|best|old|prev")
_A_PARAMETER = re.compile(r"weight|bias|^_?w|^_?b\d*$|theta|param|coef|intercept|syn|kernel")


@dataclass
class Slots:
    """The places of a network's parameters in a structure.

    Attributes:
        weights: a leaf for each layer, first layer first.
        biases: likewise; None where a layer has none, or has it in its weight.
        layout: how they are laid out.
    """

    weights: list[Leaf]
    biases: list[Leaf | None]
    layout: Layout

    @property
    def widths(self) -> list[int]:
        """Sizes of input, hidden layers and output."""
        extra = int(self.layout.is_merged)
        shapes = [leaf.get().shape for leaf in self.weights]
        if self.layout.in_out:
            return [shapes[0][0] - extra, *(shape[1] for shape in shapes)]
        return [shapes[0][1] - extra, *(shape[0] for shape in shapes)]

    def set(self, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        """Write canonical parameters."""
        for w_leaf, b_leaf, weight, bias in zip(
            self.weights, self.biases, weights, biases, strict=True
        ):
            own, row = self.layout.pack(weight, bias)
            w_leaf.set(own)
            if b_leaf is not None and row is not None:
                b_leaf.set(row.reshape(b_leaf.get().shape))

    def get(self) -> list[Array]:
        """The parameters as they lie there: a weight, a bias where there is one, of each layer."""
        return [leaf.get() for leaf in self.all()]

    def all(self) -> list[Leaf]:
        """The leaves in their order."""
        pairs = zip(self.weights, self.biases, strict=True)
        return [leaf for pair in pairs for leaf in pair if leaf is not None]

    def canonical(self, values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Arrays in the order of `all` (gradients, say) as (weights, biases), canonical."""
        left = list(values)
        weights, biases = [], []
        for b_leaf in self.biases:
            weight = left.pop(0)
            bias = left.pop(0) if b_leaf is not None else None
            w, b = self.layout.unpack(weight, bias)
            weights.append(w)
            biases.append(b)
        return weights, biases


def find_slots(found: Sequence[Leaf], inputs: int | None = None) -> Iterator[Slots]:
    """Ways to see the leaves of a structure as layers that follow each other, the likeliest first.

    Args:
        found: what `leaves` gave.
        inputs: the size of the input, where it is known.
    """
    usual = [leaf for leaf in found if not _is_no_parameter(leaf)]
    likely = [leaf for leaf in usual if _is_parameter(leaf)]
    seen: list[list[int]] = []
    for chosen in (likely, usual, list(found)):
        ids = [id(leaf) for leaf in chosen]
        if chosen and ids not in seen:
            seen.append(ids)
            yield from _slots_of(chosen, inputs)


def _is_no_parameter(leaf: Leaf) -> bool:
    names = [step.lower() for step in leaf.path if isinstance(step, str)]
    return bool(_NO_PARAMETER.match(leaf.name.lower())) or any(map(_HELD_BESIDE.search, names[:-1]))


def _is_parameter(leaf: Leaf) -> bool:
    names = [step for step in leaf.path if isinstance(step, str)]
    kinds = ("weight", "weights", "bias", "biases")
    return any(words.role(n) in kinds or _A_PARAMETER.search(n.lower()) for n in names)


def _slots_of(found: Sequence[Leaf], inputs: int | None) -> Iterator[Slots]:
    kinds = [_kind(leaf) for leaf in found]
    yield from _slots_by(found, kinds, inputs)
    if "thin" in kinds:  # (n, 1) or (1, n) of no telling name: a bias as a rule
        yield from _slots_by(found, ["weight" if k == "thin" else k for k in kinds], inputs)


def _slots_by(found: Sequence[Leaf], kinds: Sequence[str], inputs: int | None) -> Iterator[Slots]:
    kinds = ["bias" if kind == "thin" else kind for kind in kinds]
    weights = [leaf for leaf, kind in zip(found, kinds, strict=True) if kind == "weight"]
    biases = [leaf for leaf, kind in zip(found, kinds, strict=True) if kind == "bias"]
    if not weights or len(weights) > 12:  # noqa: PLR2004  no network that somebody wrote by hand
        return
    orders = [_ordered(weights)]
    if 1 < len(weights) <= 4:  # noqa: PLR2004  their orders can all be tried
        orders += [list(order) for order in permutations(weights)]
    for order in orders:
        shapes = [leaf.get().shape for leaf in order]
        ways = [
            (in_out, extra)
            for extra in ((0,) if biases else (0, 1))
            for in_out in (True, False)
            if _follows(shapes, in_out, extra, inputs)
        ]
        # Where the sizes tell the bias within the weights, nothing else is meant.
        for in_out, extra in ways:
            for kind in ("first", "last") if extra else (None,):
                slots = _with_biases(order, biases, in_out, kind)
                if slots is not None:
                    yield slots
        if ways:
            return


def _kind(leaf: Leaf) -> str:
    shape = leaf.get().shape
    role = next(
        (r for step in reversed(leaf.path) if isinstance(step, str)
         if (r := words.role(step)) in ("weight", "weights", "bias", "biases")),
        None,
    )  # fmt: skip
    if len(shape) == 1:
        return "bias"
    if len(shape) != 2:  # noqa: PLR2004  convolutions and the like
        return "other"
    if role in ("bias", "biases") and 1 in shape:
        return "bias"
    if role is None and 1 in shape:
        return "bias" if re.match(r"^_?b", leaf.name.lower()) else "thin"
    return "weight"


def _ordered(weights: list[Leaf]) -> list[Leaf]:
    numbers = [re.search(r"(\d+)$", leaf.name) for leaf in weights]
    if all(numbers) and len({leaf.path[:-1] for leaf in weights}) == 1:
        return sorted(weights, key=lambda leaf: int(re.search(r"(\d+)$", leaf.name)[1]))  # type: ignore[index]  # all have one
    return list(weights)


def _follows(
    shapes: Sequence[tuple[int, ...]], in_out: bool, extra: int, inputs: int | None
) -> bool:
    width = inputs
    for shape in shapes:
        fan_in, fan_out = shape if in_out else shape[::-1]
        if width is not None and fan_in != width + extra:
            return False
        width = fan_out
    return True


def _with_biases(
    weights: list[Leaf],
    biases: list[Leaf],
    in_out: bool,
    merged: str | None,
) -> Slots | None:
    if merged:
        return Slots(weights, [None] * len(weights), Layout(in_out, merged))
    left, chosen, form = _ordered(biases), [], "none"
    for leaf in weights:
        fan_out = leaf.get().shape[1 if in_out else 0]
        fitting = [b for b in left if b.get().size == fan_out]
        bias = fitting[0] if fitting else None
        if bias is not None:
            left.remove(bias)
            shape = bias.get().shape
            form = (
                "vector"
                if len(shape) == 1
                else "column"
                if shape[1] == 1 and (shape[0] > 1 or form == "column")
                else "row"
            )
        chosen.append(bias)
    forms = [b.get().shape for b in chosen if b is not None]
    if any(len(s) == 2 for s in forms):  # noqa: PLR2004  axes of a matrix
        form = "column" if all(s[1] == 1 for s in forms if len(s) == 2) else "row"  # noqa: PLR2004  axes of a matrix
    return Slots(weights, chosen, Layout(in_out, form))


class FixedWidthsError(Exception):
    """A program whose layers have sizes of its own.

    Attributes:
        widths: the sizes of its layers.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(f"its layers are {'-'.join(map(str, widths))}, whatever is asked for")
        self.widths = list(widths)


class Finder:
    """Finds parameters in structures of one kind; what unequal sizes tell serves for equal ones."""

    def __init__(self) -> None:
        self._first: Finder | None = None
        self._learnt: tuple[list[Path], list[Path | None], Layout] | None = None

    def other(self) -> "Finder":
        """One that takes the next of the places that fit: the bias last, and not first."""
        finder = Finder()
        finder._first = self
        return finder

    def is_needless(self) -> bool:
        """Whether there is no other way to see it, as the first one has learnt."""
        learnt = None if self._first is None else self._first._learnt  # noqa: SLF001  its own kind
        return learnt is not None and not learnt[2].is_merged

    def __call__(self, root: Any, widths: Sequence[int]) -> Slots:
        """Where a structure keeps the parameters of a network of these sizes.

        Raises:
            LookupError: nowhere.
            FixedWidthsError: it has sizes of its own.
        """
        found = leaves(root)
        slots = self._as_learnt(found)
        if slots is not None and slots.widths == list(widths):
            return slots
        ways = [*find_slots(found, widths[0]), *find_slots(found)]
        fitting = [slots for slots in ways if slots.widths == list(widths)]
        if self._first is not None:
            fitting = [slots for slots in fitting if slots.layout.is_merged][1:]
            if not fitting:
                raise LookupError("there is no other way to see it")
        if fitting:
            slots = fitting[0]
            if len(set(widths)) > 1:
                biases = [None if b is None else b.path for b in slots.biases]
                self._learnt = [w.path for w in slots.weights], biases, slots.layout
            return slots
        if not ways:
            raise LookupError("no weights were found in it")
        raise FixedWidthsError(ways[0].widths)

    def _as_learnt(self, found: Sequence[Leaf]) -> Slots | None:
        if self._learnt is None:
            return None
        by_path = {leaf.path: leaf for leaf in found}
        weights, biases, layout = self._learnt
        if not all(path in by_path for path in (*weights, *(b for b in biases if b is not None))):
            return None
        own = [None if path is None else by_path[path] for path in biases]
        return Slots([by_path[path] for path in weights], own, layout)
