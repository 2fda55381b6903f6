"""The parameters of many networks of one shape, side by side."""

from collections.abc import Sequence

from torch import Tensor

from torchmlp.engine.state.addresses import fixed
from torchmlp.kernels.optimizers import Kept
from torchmlp.nn.mlp import MLP

ALIGNMENT = 64  # bytes: where one network lies among the others must not change its last bits


class Stack:
    """Weights and biases of `size` networks, and what their optimizer keeps of them.

    Args:
        like: a network of the shape, whose dtype and device they have.
        size: how many.
        kept: what is kept beside each parameter, by the names that torch.optim has for it.

    Attributes:
        parameters: of W_1, b_1, ..., W_L, b_L: (size, *shape) each.
        kept: of each parameter, tensors like it, 0 at first; None where nothing is kept.
    """

    def __init__(self, like: MLP, size: int, kept: Kept) -> None:
        shapes = [p for pair in zip(like.weights, like.biases, strict=True) for p in pair]
        self.parameters = [_aligned(p, size) for p in shapes if p is not None]
        self.kept = [
            tuple(_aligned(p, size) if name else None for name in kept)
            for p in shapes
            if p is not None
        ]

    @property
    def tensors(self) -> list[Tensor]:
        """All of them."""
        return self.parameters + [t for kept in self.kept for t in kept if t is not None]

    def put(self, i: int, values: Sequence[Tensor]) -> None:
        """Make these network i's parameters; what is kept of them begins anew."""
        for parameter, kept, value in zip(self.parameters, self.kept, values, strict=True):
            for tensor in kept:
                if tensor is not None:
                    tensor[i].zero_()
            parameter[i].copy_(value)


def _aligned(like: Tensor, size: int) -> Tensor:
    """Zeros (size, *shape), each network's aligned."""
    unit = ALIGNMENT // like.element_size()
    stride = -(-like.numel() // unit) * unit
    room = fixed(like.detach(), size, stride).zero_()
    return room.as_strided((size, *like.shape), (stride, *like.stride()))
