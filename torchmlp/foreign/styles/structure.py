"""A form in which a program takes its parameters, and what it calls their sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torchmlp.foreign.calling.layouts import Form
from torchmlp.foreign.calling.slots import Slots

Build = Callable[[Sequence[int], Form], tuple[dict[str, Any], Slots]]


@dataclass(frozen=True)
class Structure:
    """A form in which a program takes its parameters.

    Attributes:
        build: for sizes of layers, the values to hand over, by role and name, and where in them the
            parameters lie.
        depth: the number of layers it is for; None for any.
        text: in words.
        is_own: the program draws the parameters itself, and the same every time.
    """

    build: Build
    depth: int | None
    text: str
    is_own: bool = False


def sizes(widths: Sequence[int]) -> dict[str, Any]:
    """The sizes of a network by what constructors and initialisers call them."""
    values: dict[str, Any] = {"sizes": list(widths), "inputs": widths[0], "outputs": widths[-1]}
    values["hiddens"] = list(widths[1:-1])
    if len(widths) > 2:  # noqa: PLR2004  a hidden layer
        values["hidden"] = widths[1]
    values |= {f"size{k}": width for k, width in enumerate(widths, 1)}
    return values
