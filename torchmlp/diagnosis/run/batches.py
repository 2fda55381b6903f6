"""The batches of a run, from whatever the data are given as."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from torchmlp.diagnosis.run.elements import (
    ARRAYS,
    Batch,
    Packing,
    dtype_of,
    elements_of,
    not_a_pair,
    packed,
)
from torchmlp.diagnosis.run.errors import CannotDiagnoseError

DEFAULT_BATCH_SIZE = 32


class Batches(list[Batch]):
    """Batches as pairs, and what they were.

    Attributes:
        packing: of several inputs in one tensor; None for one input.
        form: how the data were given, as in `Design.data_form`.
        names: what the inputs and the target are called.
        is_dataset: whether they were drawn of a Dataset.
    """

    packing: Packing | None = None
    form: str = "pairs"
    names: tuple[list[str], str] = ([], "")
    is_dataset: bool = False


def read_batches(
    data: Any,
    batch_size: int | None,
    steps: int,
    model: nn.Module | None = None,
    loss: Any = None,
) -> Batches:
    """Up to `steps` batches, as a run would see them.

    Args:
        data: (inputs, targets), a Dataset, a DataLoader or another iterable of batches.
        batch_size: of inputs and targets or of a Dataset; None takes 32, or all where there are
            fewer. Shuffled, by an order of their own.
        steps: how many are wanted; what can be gone through again may hold fewer.
        model: what is to be fed: with it batches may be of other forms than pairs of tensors, as
            `torchmlp.diagnosis.run.elements` tells them apart.
        loss: that may take the samples' weights.

    Raises:
        CannotDiagnoseError: there are none, an iterator runs out before `steps`, or a batch is no
            pair of tensors of one length.
    """
    if batch_size is not None and batch_size < 1:
        raise CannotDiagnoseError(f"batch_size: expected at least 1, got {batch_size}")
    is_whole = _is_whole(data, model)
    if is_whole:
        raw = list(islice(_drawn(data, batch_size), steps))
    elif isinstance(data, Dataset) and not isinstance(data, DataLoader):
        raw = list(islice(_loader(data, batch_size), steps))
    else:
        if not isinstance(data, Iterable) or isinstance(data, Tensor | np.ndarray | str):
            raise CannotDiagnoseError(
                f"data: expected (inputs, targets), a Dataset, a DataLoader or a list of batches, "
                f"got {type(data).__name__}"
            )
        with _order_kept(data):
            iterator = iter(data)
            raw = list(islice(iterator, steps))
        if iterator is data and 0 < len(raw) < steps:
            raise CannotDiagnoseError(
                f"data: ran out after {len(raw)} batches, expected {steps}; give a list or a "
                f"DataLoader, which can be gone through again, or steps={len(raw)}"
            )
    found = Batches(map(_pair, raw)) if model is None else _told_apart(raw, model, loss)
    found.is_dataset = isinstance(data, Dataset)
    if is_whole:
        found.form = "tensors" if found.form == "pairs" else "whole"
    if not any(len(x) for x, _ in found):
        raise CannotDiagnoseError("data: expected at least one batch, got none")
    found[:] = [batch for batch in found if len(batch[0])]
    return found


def _is_whole(data: Any, model: nn.Module | None) -> bool:
    """Whether the data are all samples at once: inputs and targets, by position or by name."""
    kinds = Tensor if model is None else ARRAYS
    if isinstance(data, tuple | list) and not hasattr(data, "_asdict"):
        is_pair = len(data) == 2 if model is None else len(data) > 1  # noqa: PLR2004  inputs, targets
        return is_pair and all(isinstance(part, kinds) for part in data)
    if model is None or isinstance(data, Dataset | DataLoader):
        return False
    parts = _parts(data)
    return bool(parts) and all(isinstance(part, kinds) for part in parts.values())


def _parts(data: Any) -> dict[Any, Any]:
    """Inputs and targets by name or by position; none of what is no whole."""
    if isinstance(data, Mapping):
        return dict(data)
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        return {f.name: getattr(data, f.name) for f in dataclasses.fields(data)}
    if isinstance(data, tuple) and hasattr(data, "_asdict"):
        return dict(data._asdict())
    return dict(enumerate(data)) if isinstance(data, tuple | list) else {}


def _told_apart(raw: list[Any], model: nn.Module, loss: Any) -> Batches:
    """The batches as pairs, whatever they are."""
    if not raw:
        return Batches()
    elements = elements_of(raw[0], model, loss)
    read = [elements.read(batch, dtype_of(model)) for batch in raw]
    pairs, packing = packed(read, elements, model)
    found = Batches(pairs)
    found.packing, found.form = packing, elements.form
    found.names = [str(name) for name in elements.inputs], str(elements.target)
    return found


def _loader(data: Any, batch_size: int | None) -> Iterable[Any]:
    size = batch_size or DEFAULT_BATCH_SIZE
    if isinstance(data, IterableDataset):
        return DataLoader(data, size)
    if not len(data):
        return ()
    return DataLoader(data, size, shuffle=True, generator=torch.Generator().manual_seed(0))


@contextmanager
def _order_kept(data: Any) -> Iterator[None]:
    """A loader's own generator draws afterwards what it would have drawn."""
    generator = getattr(data, "generator", None)
    if not isinstance(generator, torch.Generator):
        yield
        return
    state = generator.get_state()
    try:
        yield
    finally:
        generator.set_state(state)


def _drawn(data: Any, batch_size: int | None) -> Iterator[Any]:
    """All samples in batches, by an order of their own."""
    parts = _parts(data)
    lengths = [len(part) if part.ndim else None for part in parts.values()]
    if None in lengths:
        shapes = " and ".join(str(tuple(part.shape)) for part in parts.values())
        raise CannotDiagnoseError(
            f"data: expected inputs and targets of many samples, got shapes {shapes}"
        )
    if len(set(lengths)) > 1:
        *inputs, targets = lengths
        raise CannotDiagnoseError(
            f"data: expected as many targets as inputs, got {inputs[0]} inputs and "
            f"{targets} targets"
        )
    count = len(next(iter(parts.values())))
    size = min(batch_size or DEFAULT_BATCH_SIZE, max(count, 1))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    for start in range(0, count, size):
        rows = order[start : start + size]
        # A lone last sample is no batch to a BatchNorm; it takes its turn in a real run.
        if len(rows) == size or start == 0 or 2 * len(rows) >= size:
            drawn = {name: _rows(part, rows) for name, part in parts.items()}
            yield drawn if not isinstance(data, tuple | list) else tuple(drawn.values())


def _rows(part: Any, rows: Tensor) -> Any:
    return part[rows.to(part.device)] if isinstance(part, Tensor) else part[rows.numpy()]


def _pair(batch: Any) -> Batch:
    ok = isinstance(batch, tuple | list) and len(batch) == 2  # noqa: PLR2004
    if not ok or not all(isinstance(part, Tensor) for part in batch):
        raise not_a_pair(batch)
    x, target = batch
    if x.ndim == 0 or target.ndim == 0 or len(x) != len(target):
        raise CannotDiagnoseError(
            f"data: expected as many targets as inputs in a batch, got shapes {tuple(x.shape)} and "
            f"{tuple(target.shape)}"
        )
    return x, target
