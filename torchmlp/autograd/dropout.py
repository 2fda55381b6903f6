"""Dropout as an autograd node."""

from typing import Any

from torch import Tensor
from torch.autograd import Function

from torchmlp.autograd.composed import is_composed
from torchmlp.kernels.dropout import dropout_mask


def dropout(x: Tensor, rate: float, *, training: bool = True) -> Tensor:
    """Set each element to zero with probability `rate` and scale the others by 1 / (1 − rate).

    Args:
        x: any shape.
        rate: in 0 <= rate < 1.
        training: False returns `x` itself.

    Raises:
        ValueError: a rate outside 0 <= rate < 1.
    """
    check_dropout(rate)
    if not training or rate == 0:
        return x
    mask = dropout_mask(x.detach(), rate)
    if is_composed(x):
        return x * mask
    apply: Any = DropoutFunction.apply
    dropped: Tensor = apply(x, mask)
    return dropped


def check_dropout(rate: float, name: str = "dropout") -> None:
    """Raise ValueError unless 0 <= rate < 1."""
    if not 0 <= rate < 1:
        raise ValueError(f"{name}: expected a rate in 0 <= rate < 1, got {rate}")


class DropoutFunction(Function):
    """x ⊙ mask and its reverse mode, the same product."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, mask: Tensor) -> Tensor:
        return x * mask

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        del output
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return grad * mask, None
