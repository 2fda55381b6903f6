"""Weights that were saved without the network they belong to."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

# How people's own files call them, beside Lightning's "state_dict".
KEYS = ("state_dict", "model_state_dict")


class Chain(NamedTuple):
    """The layers that weights are of, where they are a multilayer perceptron's.

    Attributes:
        widths: of input, hidden layers and output.
        names: of each layer's weight and bias, first to last; None where it has no bias.
    """

    widths: list[int]
    names: list[tuple[str, str | None]]


def weights_in(found: Any) -> dict[str, Tensor] | None:
    """The weights in what a file holds, bare or under a name for them; None for none."""
    if not isinstance(found, Mapping):
        return None
    for weights in (*(found[key] for key in KEYS if key in found), found):
        if _are_weights(weights):
            return dict(weights)
    return None


def _are_weights(found: Any) -> bool:
    return (
        isinstance(found, Mapping)
        and bool(found)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())
    )


def chain_of(weights: Mapping[str, Tensor]) -> Chain | None:
    """The multilayer perceptron that has these weights, whatever it calls them; None for none.

    Each is a matrix (fan_out, fan_in), perhaps followed by its bias, and takes what the one before
    gives.
    """
    widths: list[int] = []
    names: list[tuple[str, str | None]] = []
    for name, value in weights.items():
        if not value.is_floating_point() or 0 in value.shape:
            return None
        if value.ndim == 2 and (not widths or value.shape[1] == widths[-1]):  # noqa: PLR2004  a matrix
            widths += [*([] if widths else [value.shape[1]]), value.shape[0]]
            names.append((name, None))
        elif value.ndim == 1 and names and names[-1][1] is None and len(value) == widths[-1]:
            names[-1] = names[-1][0], name
        else:
            return None
    biases = {bias is None for _, bias in names}
    return Chain(widths, names) if len(biases) == 1 else None


def renamed(found: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights under the names that they have here, where both are of one such network."""
    theirs, ours = chain_of(found), chain_of(mine)
    if found.keys() == mine.keys() or theirs is None or ours is None:
        return found
    if theirs.widths != ours.widths or len(found) != len(mine):  # one has biases, the other none
        return found
    pairs = zip(theirs.names, ours.names, strict=True)
    return {
        new: found[old]
        for layers in pairs
        for old, new in zip(*layers, strict=True)
        if old is not None and new is not None
    }
