"""A random order that depends on a seed and an epoch alone."""

import hashlib

import torch
from jaxtyping import Int64
from torch import Tensor


def permutation(count: int, *seed: int) -> Int64[Tensor, " count"]:
    """A random order of `count` indices, a function of the numbers in `seed` alone.

    The numbers are mixed: unlike with their sum, epoch 1 of seed 0 is not epoch 0 of seed 1.
    """
    mixed = int.from_bytes(hashlib.sha256(" ".join(map(str, seed)).encode()).digest()[:8])
    return torch.randperm(count, generator=torch.Generator().manual_seed(mixed))
