"""The batches of a run, from whatever the data are given as."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from torchmlp.diagnosis.run.run import Batch, CannotDiagnoseError

DEFAULT_BATCH_SIZE = 32


def read_batches(data: Any, batch_size: int | None, steps: int) -> list[Batch]:
    """Up to `steps` batches, as a run would see them.

    Args:
        data: (inputs, targets), a Dataset, a DataLoader or another iterable of batches.
        batch_size: of inputs and targets or of a Dataset; None takes 32, or all where there are
            fewer. Shuffled, by an order of their own.
        steps: how many are wanted; what can be gone through again may hold fewer.

    Raises:
        CannotDiagnoseError: there are none, an iterator runs out before `steps`, or a batch is no
            pair of tensors of one length.
    """
    if batch_size is not None and batch_size < 1:
        raise CannotDiagnoseError(f"batch_size: expected at least 1, got {batch_size}")
    is_pair = (
        isinstance(data, tuple | list)
        and len(data) == 2  # noqa: PLR2004  inputs, targets
        and all(isinstance(part, Tensor) for part in data)
    )
    if is_pair:
        inputs, targets = data
        if not inputs.ndim or not targets.ndim:
            raise CannotDiagnoseError(
                f"data: expected inputs and targets of many samples, got shapes "
                f"{tuple(inputs.shape)} and {tuple(targets.shape)}"
            )
        if len(inputs) != len(targets):
            raise CannotDiagnoseError(
                f"data: expected as many targets as inputs, got {len(inputs)} inputs and "
                f"{len(targets)} targets"
            )
        batches = list(islice(_drawn(inputs, targets, batch_size), steps))
    elif isinstance(data, Dataset) and not isinstance(data, DataLoader):
        batches = [_pair(batch) for batch in islice(_loader(data, batch_size), steps)]
    else:
        if not isinstance(data, Iterable):
            raise CannotDiagnoseError(
                f"data: expected (inputs, targets), a Dataset, a DataLoader or a list of batches, "
                f"got {type(data).__name__}"
            )
        with _order_kept(data):
            iterator = iter(data)
            batches = [_pair(batch) for batch in islice(iterator, steps)]
        if iterator is data and 0 < len(batches) < steps:
            raise CannotDiagnoseError(
                f"data: ran out after {len(batches)} batches, expected {steps}; give a list or a "
                f"DataLoader, which can be gone through again, or steps={len(batches)}"
            )
    if not batches or not any(len(x) for x, _ in batches):
        raise CannotDiagnoseError("data: expected at least one batch, got none")
    return [batch for batch in batches if len(batch[0])]


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


def _drawn(inputs: Tensor, targets: Tensor, batch_size: int | None) -> Iterator[Batch]:
    count = len(inputs)
    size = min(batch_size or DEFAULT_BATCH_SIZE, max(count, 1))
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(count, generator=generator).to(inputs.device)
    for start in range(0, count, size):
        rows = order[start : start + size]
        # A lone last sample is no batch to a BatchNorm; it takes its turn in a real run.
        if len(rows) == size or start == 0 or 2 * len(rows) >= size:
            yield inputs[rows], targets[rows.to(targets.device)]


def _pair(batch: Any) -> Batch:
    ok = isinstance(batch, tuple | list) and len(batch) == 2  # noqa: PLR2004
    if not ok or not all(isinstance(part, Tensor) for part in batch):
        kind = type(batch).__name__
        if isinstance(batch, tuple | list):
            kind += f" of {', '.join(type(part).__name__ for part in batch)}"
        hint = "; convert arrays with torch.from_numpy(array)" if "ndarray" in kind else ""
        raise CannotDiagnoseError(
            f"data: expected batches (input, target) of tensors, got {kind}{hint}"
        )
    x, target = batch
    if x.ndim == 0 or target.ndim == 0 or len(x) != len(target):
        raise CannotDiagnoseError(
            f"data: expected as many targets as inputs in a batch, got shapes {tuple(x.shape)} and "
            f"{tuple(target.shape)}"
        )
    return x, target
