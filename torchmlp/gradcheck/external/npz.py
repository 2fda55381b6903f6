"""Gradients in an .npz file, whatever language wrote it."""

import re
import zipfile
from pathlib import Path

import numpy as np

from torchmlp._runtime.read_errors import UNREADABLE
from torchmlp.gradcheck.external.gradients import Array, ExternalGradients

MAX_BYTES = 1 << 30  # of a network that finite differences can be taken of: far less
KEYS = "x, target, W1, b1, ..., dW1, db1, ... and, if you have it, loss"


def read_npz(path: Path) -> ExternalGradients:
    """The batch, parameters and gradients in a file.

    Raises:
        ValueError: no .npz file, a missing array, or shapes that do not follow each other; named.
        FileNotFoundError: there is no such file.
    """
    arrays = _arrays(path)
    depth = sum(1 for name in arrays if re.fullmatch(r"W\d+", name))
    layers = range(1, depth + 1)
    wanted = ["x", "target", *(f"{p}{k}" for k in layers for p in ("W", "dW"))]
    wanted += [f"db{k}" for k in layers if f"b{k}" in arrays]
    missing = [name for name in wanted if name not in arrays]
    if missing or depth == 0:
        raise ValueError(
            f"{path}: no {', '.join(missing or ['W1'])} in it, but "
            f"{', '.join(arrays) or 'nothing'}; expected {KEYS}"
        )
    weights = [arrays[f"W{k}"] for k in layers]
    loss = arrays.get("loss")
    given = ExternalGradients(
        arrays["x"],
        arrays["target"],
        weights,
        [arrays.get(f"b{k}") for k in layers],
        [arrays[f"dW{k}"] for k in layers],
        [arrays.get(f"db{k}") for k in layers],
        None if loss is None else float(loss),
        _is_in_out(path, arrays["x"], weights),
    )
    for k, bias in enumerate(given.biases, 1):
        if bias is not None and bias.size != given.widths[k]:
            raise ValueError(
                f"{path}: b{k} has shape {bias.shape}, and W{k} of shape {weights[k - 1].shape} "
                f"expects ({given.widths[k]},)"
            )
    return given


def _arrays(path: Path) -> dict[str, Array]:
    """All arrays in a file; what it unpacks to is known, and bounded, before anything is read."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_BYTES:
                raise ValueError(f"it unpacks to {size} bytes, more than {MAX_BYTES}")
            if (wrong := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {wrong} is another")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise ValueError(
            f"{path}: expected an .npz file with the arrays {KEYS} ({error})"
        ) from None


def _is_in_out(path: Path, x: Array, weights: list[Array]) -> bool:
    """Whether the weights are (fan_in, fan_out); (fan_out, fan_in) where both fit."""
    if x.ndim != 2 or any(weight.ndim != 2 for weight in weights):  # noqa: PLR2004  matrices
        shapes = ", ".join(str(array.shape) for array in (x, *weights))
        raise ValueError(f"{path}: expected x and every W to be a matrix, got shapes {shapes}")
    for is_in_out in (False, True):
        width, fits = x.shape[1], True
        for weight in weights:
            fan_in, fan_out = weight.shape if is_in_out else weight.shape[::-1]
            fits, width = fits and fan_in == width, fan_out
        if fits:
            return is_in_out
    shapes = ", ".join(f"W{k} {weight.shape}" for k, weight in enumerate(weights, 1))
    raise ValueError(
        f"{path}: the shapes do not follow each other: x {x.shape}, {shapes}; expected "
        f"(fan_out, fan_in) or (fan_in, fan_out) throughout"
    )
