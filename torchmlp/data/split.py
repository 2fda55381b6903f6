"""Training and validation samples."""

from jaxtyping import Int64
from torch import Tensor

from torchmlp.data.permutation import permutation


def split_validation(
    count: int, size: int, seed: int
) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " validation"]]:
    """Hold out `size` of `count` samples for validation, at random, the same for the same seed.

    Returns:
        The indices for training and those for validation, each ascending.

    Raises:
        ValueError: when `size` is negative or leaves nothing to train on.
    """
    if not 0 <= size < count:
        raise ValueError(
            f"split_validation: size={size} of {count} samples, expected 0..{count - 1}; "
            "at least one sample must be left to train on"
        )
    order = permutation(count, seed)
    return order[size:].sort().values, order[:size].sort().values
