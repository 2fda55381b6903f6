"""Dropout's mask; the forward pass is x ⊙ mask and the backward pass grad ⊙ mask."""

import torch
from jaxtyping import Float
from torch import Tensor


def dropout_mask(x: Float[Tensor, "*shape"], rate: float) -> Float[Tensor, "*shape"]:
    """A mask shaped like `x`: 0 with probability `rate`, else 1 / (1 − rate).

    Drawn from torch's global generator as torch.nn.Dropout draws it on the CPU, so that both train
    alike from one seed.

    Args:
        x: gives shape, dtype and device (values unused).
        rate: in 0 <= rate < 1.

    Source: Srivastava et al. (2014), in the inverted form that leaves evaluation unscaled.
    """
    return draw_mask_(torch.empty_like(x), rate)


def draw_mask_(mask: Float[Tensor, "*shape"], rate: float) -> Float[Tensor, "*shape"]:
    """The same mask, drawn into the memory of `mask`."""
    return mask.bernoulli_(1 - rate).div_(1 - rate)
