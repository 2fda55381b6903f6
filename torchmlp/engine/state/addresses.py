"""Where tensors lie in memory: what can be read there, and memory that cannot be taken away.

A step in C++, or in a CUDA graph, goes by addresses, and an address alone does not say that a
tensor's elements lie there: it may be negated when it is read, or its storage freed.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from torchmlp._compat.torch_internals import (
    has_no_memory,
    is_of_a_transform,
    is_zero_tensor,
    overlaps_itself,
)

_ALIGNMENT = 64  # bytes, as torch's own allocator gives


def check_tensors(x: object, target: object, where: str) -> None:
    """Refuse what is no tensor.

    Raises:
        TypeError: an array, a list, or anything else.
    """
    for given in (x, target):
        if not isinstance(given, Tensor):
            kind = type(given)
            raise TypeError(
                f"{where}: expected tensors, got {kind.__module__}.{kind.__name__}; convert an "
                f"array with torch.from_numpy(array)"
            )


def unsupported_memory(tensor: Tensor) -> str:
    """What keeps the elements of a dense tensor from lying each at a place of its own; or ""."""
    if has_no_memory(tensor):
        return "has no memory"
    if is_of_a_transform(tensor):
        return "belongs to a transform of torch.func"
    if tensor.device.type == "meta" or not tensor.numel():
        return ""
    if end_of(tensor) > tensor.untyped_storage().nbytes():
        return "lies in a storage that was freed or made smaller"
    if overlaps_itself(tensor):
        return "has elements that share a place (expand); make it .contiguous()"
    return ""


def borrow_batch(x: Tensor, target: Tensor, where: str, written: set[int]) -> tuple[Tensor, Tensor]:
    """A dense batch, contiguous, as a step can read it; copies where it cannot.

    Args:
        x: the input.
        target: the target.
        where: how an error begins.
        written: where the storages begin that the step writes into while it reads.

    Raises:
        ValueError: there is no memory to read, or less than the shape says.
    """
    return _borrow(x, "an input", where, written), _borrow(target, "a target", where, written)


def _borrow(tensor: Tensor, name: str, where: str, written: set[int]) -> Tensor:
    try:
        tensor = tensor.resolve_neg().contiguous()
        storage = tensor.untyped_storage()
        start = storage.data_ptr()
        if start in written:
            return tensor.clone()
        room = start and start + storage.nbytes() - tensor.data_ptr()
    except (RuntimeError, NotImplementedError):  # torch refuses what has no memory
        room = 0
    if room >= tensor.numel() * tensor.itemsize:
        return tensor
    if is_zero_tensor(tensor):
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    raise ValueError(
        f"{where}: expected {name} with its elements in memory, and it "
        f"{unsupported_memory(tensor) or 'has none there'}"
    )


def storages(tensors: Iterable[Tensor]) -> set[int]:
    """Where their storages begin."""
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


def end_of(tensor: Tensor) -> int:
    """The first byte of its storage behind the last element of a tensor."""
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in pairs)
    return (int(tensor.storage_offset()) + last + 1) * tensor.element_size()


def overlap(tensors: Sequence[Tensor]) -> bool:
    """Whether the memory of one, from its first to its last element, reaches into another's."""
    spans = sorted((t.data_ptr(), t.data_ptr() + t.nbytes) for t in tensors if t.numel())
    return any(end > start for (_, end), (start, _) in pairwise(spans))


def fixed(like: Tensor, *shape: int) -> Tensor:
    """An empty tensor of the shape, in the dtype and on the device of `like`.

    On a CPU its memory is numpy's: no `resize_` of it or of any view can move or free it.
    """
    if like.device.type != "cpu":
        return like.new_empty(shape)
    size = like.new_empty(0).element_size() * torch.Size(shape).numel()
    room = np.empty(size + _ALIGNMENT, dtype=np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return torch.from_numpy(room[start : start + size]).view(like.dtype).view(shape)
