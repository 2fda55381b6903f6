"""How a program lays out its parameters and its samples, and the way to and from torchmlp's own.

Canonical are weights (fan_out, fan_in), biases (fan_out,) and samples as rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """How one program lays out the parameters of a layer.

    Attributes:
        in_out: weights are (fan_in, fan_out), used as x @ W.
        bias: "vector" (n,), "column" (n, 1), "row" (1, n), "none", or "first" or "last": a column
            of the weight, a row where it is (fan_in + 1, fan_out).
    """

    in_out: bool
    bias: str

    def __str__(self) -> str:
        """In a few words."""
        shape = ["(fan_out, fan_in)", "(fan_in, fan_out)"][self.in_out]
        forms = {
            "vector": "biases (n,)",
            "column": "biases (n, 1)",
            "row": "biases (1, n)",
            "none": "no biases",
            "first": f"the bias their first {'row' if self.in_out else 'column'}",
            "last": f"the bias their last {'row' if self.in_out else 'column'}",
        }
        return f"weights {shape}, {forms[self.bias]}"

    @property
    def is_merged(self) -> bool:
        """Whether the bias is a part of the weight."""
        return self.bias in ("first", "last")

    def pack(self, weight: Array, bias: Array) -> tuple[Array, Array | None]:
        """A weight (fan_out, fan_in) and a bias (fan_out,) as the program has them."""
        if self.is_merged:
            parts = [bias[:, None], weight]
            matrix = np.hstack(parts if self.bias == "first" else parts[::-1])
        else:
            matrix = weight
        shaped = {"vector": bias, "column": bias[:, None], "row": bias[None]}.get(self.bias)
        own = np.ascontiguousarray(matrix.T if self.in_out else matrix)
        return own, None if shaped is None else shaped.copy()

    def unpack(self, weight: Any, bias: Any) -> tuple[Any, Any]:
        """A gradient as the program has it, as (grad_weight, grad_bias); a wrong shape stays."""
        matrix = np.asarray(weight, dtype=float) if weight is not None else None
        if matrix is not None and matrix.ndim == 2 and self.in_out:  # noqa: PLR2004  a matrix
            matrix = matrix.T
        if self.is_merged:
            if matrix is None or matrix.ndim != 2:  # noqa: PLR2004  axes of a matrix
                return matrix, None
            if self.bias == "first":
                return matrix[:, 1:], matrix[:, 0]
            return matrix[:, :-1], matrix[:, -1]
        row = None if bias is None else np.asarray(bias, dtype=float)
        if row is not None and self.bias == "column" and row.ndim == 2 and row.shape[1] > 1:  # noqa: PLR2004  axes of a matrix
            row = row.T  # not summed over the samples, which are columns
        if row is not None and row.ndim == 2 and 1 in row.shape:  # noqa: PLR2004  axes of a matrix
            row = row.ravel()
        return matrix, row


LAYOUTS = [
    Layout(in_out, bias)
    for bias in ("vector", "column", "row", "none", "first", "last")
    for in_out in (True, False)
]


@dataclass(frozen=True)
class Form:
    """How a program takes a batch.

    Attributes:
        columns: samples are columns.
        target: "one-hot", "labels" from 0, "labels from 1", or "column" of labels (B, 1).
        one: one sample at a time: x a vector, or a column where `columns`.
        box: "numpy", "lists" of Python's numbers, or "torch".
    """

    columns: bool = False
    target: str = "one-hot"
    one: bool = False
    box: str = "numpy"

    def __str__(self) -> str:
        """In a few words."""
        samples = (
            "one sample at a time"
            if self.one
            else f"samples as {'columns' if self.columns else 'rows'}"
        )
        box = {"numpy": "", "lists": " in lists", "torch": " in tensors"}[self.box]
        return f"{samples}{box}, targets {self.target}"

    def batch(self, x: Array, labels: Array, outputs: int) -> tuple[Any, Any]:
        """The batch as the program takes it.

        Args:
            x: (B, n), B being 1 where `one`.
            labels: (B,) from 0; of one output, 0 or 1.
            outputs: K.
        """
        if self.target == "one-hot":
            target = np.eye(outputs)[labels] if outputs > 1 else labels[:, None].astype(float)
        elif self.target == "column":
            target = labels[:, None]
        elif self.target == "flat":
            target = labels.astype(float)
        else:
            target = labels + (self.target == "labels from 1")
        if self.one and not self.columns:
            x, target = x[0], target[0]
        elif self.columns:
            x, target = np.ascontiguousarray(x.T), np.ascontiguousarray(np.atleast_2d(target.T))
            if self.target.startswith("labels"):
                target = target[0]
        return self.boxed(x), self.boxed(target)

    def boxed(self, array: Any) -> Any:
        """An array as the program takes arrays."""
        if self.box == "lists":
            return array.tolist() if hasattr(array, "tolist") else array
        if self.box == "torch":
            import torch  # noqa: PLC0415  the program's own choice

            tensor = torch.as_tensor(np.array(array))
            return tensor.double() if tensor.is_floating_point() else tensor.long()
        return np.array(array) if isinstance(array, np.ndarray) else array

    def output(self, value: Any, rows: int, outputs: int) -> Array | None:
        """What a forward pass returned, as (B, K); None where it is of no such shape."""
        array = as_array(value)
        if array is None or array.size != rows * outputs:
            return None
        if array.ndim == 2 and self.columns and array.shape == (outputs, rows):  # noqa: PLR2004  axes of a matrix
            array = array.T
        if array.ndim == 2 and array.shape != (rows, outputs) and 1 not in array.shape:  # noqa: PLR2004  axes of a matrix
            return None
        return array.reshape(rows, outputs)


def as_array(value: Any) -> Array | None:
    """Numbers in whatever form, as an array of float64; None where it holds none."""
    if value is None or isinstance(value, (str, bytes, dict)):
        return None
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        return None
    return array.astype(float) if array.dtype.kind in "fiub" else None


@dataclass(frozen=True)
class Sample:
    """A random batch with random parameters, all canonical.

    Attributes:
        x: (B, n).
        labels: (B,), from 0 to K − 1; 0 or 1 where K = 1.
        weights: (fan_out, fan_in) each.
        biases: (fan_out,) each.
    """

    x: Array
    labels: Array
    weights: list[Array]
    biases: list[Array]

    @property
    def widths(self) -> list[int]:
        """Sizes of input, hidden layers and output."""
        return [self.x.shape[1], *(len(w) for w in self.weights)]

    def with_parameters(self, weights: Sequence[Array], biases: Sequence[Array]) -> "Sample":
        """The same batch, at other parameters."""
        return Sample(self.x, self.labels, list(weights), list(biases))


def draw(rows: int, widths: Sequence[int], seed: int) -> Sample:
    """A random batch and random parameters, of order one."""
    random = np.random.default_rng([seed, rows, *widths])
    x = random.normal(size=(rows, widths[0]))
    labels = random.integers(max(widths[-1], 2), size=rows)
    labels[: min(rows, 2)] = np.arange(min(rows, 2))  # more than one class, whatever was drawn
    weights, biases = draw_parameters(widths, random)
    return Sample(x, labels, weights, biases)


def draw_parameters(
    widths: Sequence[int], random: np.random.Generator
) -> tuple[list[Array], list[Array]]:
    """Weights of variance 1 / fan_in and biases, canonical."""
    weights = [random.normal(size=(o, i)) / i**0.5 for i, o in pairwise(widths)]
    return weights, [random.normal(size=o) * 0.3 for o in widths[1:]]
