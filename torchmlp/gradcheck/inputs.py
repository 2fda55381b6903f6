"""Validate user-supplied gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Gradients = Mapping[str, Any] | Sequence[Any]


def by_name(gradients: Gradients, names: Sequence[str], who: str) -> dict[str, Any]:
    """The gradients by parameter name, in the order of `names`.

    Args:
        gradients: a mapping by parameter name, or a sequence in the order of `names`.
        names: the parameters' names.
        who: what a message begins with.

    Raises:
        ValueError: one is missing, or is no parameter's.
        TypeError: neither a mapping nor a sequence.
    """
    if isinstance(gradients, Mapping):
        missing = [name for name in names if name not in gradients]
        strange = [name for name in gradients if name not in names]
        if missing or strange:
            kind, which = ("no gradient for", missing) if missing else ("a gradient for", strange)
            raise ValueError(
                f"{who}: got {kind} {', '.join(map(repr, which))}; expected one for each of "
                f"{', '.join(names)}"
            )
        return {name: gradients[name] for name in names}
    if isinstance(gradients, str) or not isinstance(gradients, Sequence):
        raise TypeError(
            f"{who}: expected gradients as a dict by parameter name or a list in parameter order, "
            f"got {type(gradients).__name__}"
        )
    if len(gradients) != len(names):
        raise ValueError(
            f"{who}: got {len(gradients)} gradients; expected {len(names)}, one for each of "
            f"{', '.join(names)}"
        )
    return dict(zip(names, gradients, strict=True))


def as_float(value: Any, name: str, shape: Sequence[int | str], who: str) -> Tensor:
    """An array or tensor of real, finite numbers, detached, as it came.

    Args:
        value: a tensor, an array, or anything that numpy makes an array of.
        name: what the message calls it.
        shape: the shape it belongs to, for the message.
        who: what a message begins with.

    Raises:
        TypeError: it is no array of floating-point numbers.
        ValueError: nan or infinity is in it.
    """
    try:
        tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{who}: expected an array of shape {tuple(shape)} for {name}, got "
            f"{type(value).__name__} ({error})"
        ) from None
    if not tensor.is_floating_point():
        raise TypeError(
            f"{who}: expected floating-point numbers of shape {tuple(shape)} for {name}, got "
            f"{tensor.dtype} of shape {tuple(tensor.shape)}"
        )
    bad = int((~tensor.isfinite()).sum())
    if bad:
        raise ValueError(
            f"{who}: {name}, shape {tuple(tensor.shape)}, expected {tuple(shape)} finite numbers: "
            f"{bad} of {tensor.numel()} elements are nan or infinite"
        )
    return tensor


def wrong_shape(name: str, got: Sequence[int], expected: Sequence[int], who: str) -> ValueError:
    """The error for a gradient whose shape is not its parameter's."""
    return ValueError(
        f"{who}: the gradient of {name} has shape {tuple(got)}, its parameter has shape "
        f"{tuple(expected)}"
    )
