"""The elements of a batch: which are inputs, which is the target, and which the samples' weights.

By name, where elements have names: the target is `labels`, `label`, `target`, `targets`, `y`,
`output` or `class`; the weights are `weight`, `weights`, `sample_weight` or `sample_weights`; the
rest are inputs. By position otherwise: the last is the target, and what stands before it are
inputs. A third element is the samples' weights where the model takes one input, or the loss takes
three arguments.
"""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchmlp.diagnosis.run.errors import CannotDiagnoseError

Batch = tuple[Tensor, Tensor]
TARGETS = ("labels", "label", "target", "targets", "y", "output", "class", "y_true", "Y")
WEIGHTS = ("weight", "weights", "sample_weight", "sample_weights", "w")
INPUT, TARGET, WEIGHT = "input", "target", "weight"
LARGEST = 2**24  # whole numbers below are the same in float32
PAIR, TRIPLE = 2, 3
ARRAYS = (Tensor, np.ndarray)


@dataclass(frozen=True)
class Elements:
    """What the elements of a batch are.

    Attributes:
        form: "pairs", "tuples", "dicts", "namedtuples" or "dataclasses".
        inputs: the inputs' names, or their positions.
        target: the target's.
        weight: the samples' weights', None where there are none.
    """

    form: str
    inputs: tuple[Any, ...]
    target: Any
    weight: Any = None

    def read(self, batch: Any, dtype: torch.dtype) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """Inputs, target and weights of a batch, as tensors.

        Args:
            batch: any after the first.
            dtype: that arrays of floating point numbers get.

        Raises:
            CannotDiagnoseError: an element is no tensor or array, or they differ in length.
        """
        values = _values(batch)
        inputs = [_tensor(values[name], name, dtype) for name in self.inputs]
        target = _tensor(values[self.target], self.target, dtype)
        weight = None if self.weight is None else _tensor(values[self.weight], self.weight, dtype)
        parts = [*inputs, target, *([] if weight is None else [weight])]
        if any(not part.ndim for part in parts) or len({len(part) for part in parts}) > 1:
            shapes = " and ".join(str(tuple(part.shape)) for part in parts)
            raise CannotDiagnoseError(
                f"data: expected as many targets as inputs in a batch, got shapes {shapes}"
            )
        return inputs, target, weight


def elements_of(batch: Any, model: nn.Module, loss: Any) -> Elements:
    """Which element of a batch is what.

    Args:
        batch: the first one.
        model: whose forward tells how many inputs there are.
        loss: that may take the samples' weights.

    Raises:
        CannotDiagnoseError: it is no pair, tuple, mapping, named tuple or dataclass of tensors, or
            none of its names is a target's.
    """
    values = _values(batch)
    form = _form(batch)
    if not isinstance(values, dict):
        return _by_position(values, model, loss, batch)
    values = {k: v for k, v in values.items() if isinstance(v, ARRAYS)}
    weight = next((name for name in WEIGHTS if name in values), None)
    target = next((name for name in TARGETS if name in values), None)
    inputs = tuple(name for name in values if name not in (target, weight))
    if target is None or not inputs:
        raise CannotDiagnoseError(
            f"data: expected a batch with inputs and a target called one of {', '.join(TARGETS)}, "
            f"got {type(batch).__name__} of {', '.join(map(str, values)) or 'no tensors'}"
        )
    return Elements(form, _wanted(inputs, model), target, weight)


def _by_position(values: Any, model: nn.Module, loss: Any, batch: Any) -> Elements:
    count = len(values) if isinstance(values, list) else 0
    if count < PAIR or not all(isinstance(value, ARRAYS) for value in values):
        raise not_a_pair(batch)
    if count == PAIR:
        return Elements("pairs", (0,), 1)
    most = _most_inputs(model)
    if count == TRIPLE and (most == 1 or takes_weights(loss)):
        return Elements("tuples", (0,), 1, 2)
    return Elements("tuples", tuple(range(count - 1)), count - 1)


def _values(batch: Any) -> Any:
    """The elements, by name or by position."""
    if isinstance(batch, Mapping):
        return dict(batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    if _form(batch) == "namedtuples":
        return batch._asdict()
    return list(batch) if isinstance(batch, tuple | list) else batch


def _form(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return "dicts"
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return "dataclasses"
    if isinstance(batch, tuple) and hasattr(batch, "_asdict"):
        return "namedtuples"
    return "tuples"


def _tensor(value: Any, name: Any, dtype: torch.dtype) -> Tensor:
    if isinstance(value, np.ndarray):
        tensor = torch.from_numpy(np.ascontiguousarray(value))
        return tensor.to(dtype) if tensor.is_floating_point() else tensor
    if not isinstance(value, Tensor):
        raise CannotDiagnoseError(
            f"data: expected a tensor or an array as element {name!r} of a batch, got "
            f"{type(value).__name__}"
        )
    return value


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def _most_inputs(model: nn.Module) -> int:
    """How many inputs a model's forward takes by position; many where nobody knows."""
    taken = _parameters(model.forward)
    if not taken or any(p.kind is p.VAR_POSITIONAL for p in taken):
        return 1 if isinstance(model, nn.Sequential) else TRIPLE
    return len([p for p in taken if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)])


def takes_weights(loss: Any) -> bool:
    """Whether a loss takes the samples' weights as a third argument."""
    if isinstance(loss, nn.Module):
        loss = loss.forward
    required = [
        p
        for p in _parameters(loss)
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    return len(required) == TRIPLE


def _wanted(names: tuple[Any, ...], model: nn.Module) -> tuple[Any, ...]:
    """Of a mapping's inputs those that forward asks for by name; the first ones where by none."""
    taken = _parameters(model.forward)
    if any(p.kind is p.VAR_KEYWORD for p in taken):
        return names
    asked = tuple(name for name in names if any(p.name == name for p in taken))
    if asked:
        return asked
    return names[: max(_most_inputs(model), 1)]


@dataclass(frozen=True)
class Packing:
    """Several inputs, and the samples' weights, as the columns of one tensor.

    Attributes:
        shapes: of each part, but for the samples.
        dtypes: of each part.
        names: what forward calls the inputs; () where they are given by position.
        has_weight: whether the last part is the samples' weights.
    """

    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]
    names: tuple[str, ...]
    has_weight: bool

    def unpack(self, packed: Tensor, like: torch.dtype) -> tuple[list[Tensor], Tensor | None]:
        """The inputs, and the weights."""
        sizes = [shape.numel() for shape in self.shapes]
        parts = [
            part.reshape(len(packed), *shape).to(like if dtype.is_floating_point else dtype)
            for part, shape, dtype in zip(
                torch.split(packed, sizes, 1), self.shapes, self.dtypes, strict=True
            )
        ]
        return (parts[:-1], parts[-1]) if self.has_weight else (parts, None)

    def call(self, model: nn.Module, packed: Tensor) -> tuple[Any, Tensor | None]:
        """What the model makes of the inputs, and the weights."""
        inputs, weight = self.unpack(packed, dtype_of(model))
        if self.names:
            return model(**dict(zip(self.names, inputs, strict=True))), weight
        return model(*inputs), weight

    @property
    def columns(self) -> Tensor:
        """Which columns are numbers that can be shifted and scaled: those of floating inputs."""
        flags = [
            torch.full((shape.numel(),), dtype.is_floating_point)
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        ]
        if self.has_weight:
            flags[-1][:] = False
        return torch.cat(flags)


def dtype_of(model: nn.Module) -> torch.dtype:
    """What a model computes in: its first floating parameter's."""
    found = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(found, torch.get_default_dtype())


def not_a_pair(batch: Any) -> CannotDiagnoseError:
    """What is said of a batch that is none."""
    kind = type(batch).__name__
    if isinstance(batch, tuple | list):
        kind += f" of {', '.join(type(part).__name__ for part in batch)}"
    hint = "; convert arrays with torch.from_numpy(array)" if "ndarray" in kind else ""
    return CannotDiagnoseError(
        f"data: expected batches (input, target) of tensors, got {kind}{hint}"
    )


def packed(
    read: Sequence[tuple[list[Tensor], Tensor, Tensor | None]],
    elements: Elements,
    model: nn.Module,
) -> tuple[list[Batch], Packing | None]:
    """Batches as pairs; of several inputs the pairs' first is one tensor of all columns."""
    inputs, _, weight = read[0]
    if len(inputs) == 1 and weight is None:
        return [(parts[0], target) for parts, target, _ in read], None
    first = [*inputs, *([] if weight is None else [weight])]
    taken = {p.name for p in _parameters(model.forward)}
    by_name = all(name in taken for name in elements.inputs)
    packing = Packing(
        tuple(part.shape[1:] for part in first),
        tuple(part.dtype for part in first),
        tuple(map(str, elements.inputs)) if by_name else (),
        weight is not None,
    )
    floating = [part.dtype for part in inputs if part.is_floating_point()]
    dtype = floating[0] if floating else torch.float32
    batches = []
    for parts, target, of_samples in read:
        every = [*parts, *([] if of_samples is None else [of_samples])]
        if any(part.shape[1:] != shape for part, shape in zip(every, packing.shapes, strict=True)):
            raise CannotDiagnoseError(
                "data: expected several inputs of the same shapes in every batch, got "
                + ", ".join(str(tuple(part.shape)) for part in every)
            )
        whole = [part for part in parts if not part.is_floating_point() and part.numel()]
        if any(float(part.abs().max()) >= LARGEST for part in whole if part.dtype != torch.bool):
            dtype = torch.float64
        batches.append((every, target))
    return [
        (torch.cat([part.reshape(len(part), -1).to(dtype) for part in every], 1), target)
        for every, target in batches
    ], packing
