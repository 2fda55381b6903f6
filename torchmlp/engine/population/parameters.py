"""The parameters of many networks of one shape, side by side."""

from collections.abc import Sequence

from torch import Tensor

from torchmlp.engine.state.addresses import fixed
from torchmlp.nn.mlp import MLP

ALIGNMENT = 64  # bytes: where one network lies among the others must not change its last bits


class Stack:
    """Weights and biases, and where there is momentum their velocities, of `size` networks.

    Args:
        like: a network of the shape, whose dtype and device they have.
        size: how many.
        has_velocity: whether to keep a velocity beside each parameter.

    Attributes:
        parameters: of W_1, b_1, ..., W_L, b_L: (size, *shape) each.
        velocities: the same, 0 at first; the parameters themselves where none are kept.
    """

    def __init__(self, like: MLP, size: int, *, has_velocity: bool) -> None:
        shapes = [p for pair in zip(like.weights, like.biases, strict=True) for p in pair]
        self.parameters = [_aligned(p, size) for p in shapes if p is not None]
        self.velocities = self.parameters
        if has_velocity:
            self.velocities = [_aligned(p, size) for p in shapes if p is not None]

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, each once."""
        own = self.velocities is self.parameters
        return self.parameters if own else self.parameters + self.velocities

    def put(self, i: int, values: Sequence[Tensor]) -> None:
        """Make these network i's parameters; its velocities begin anew."""
        for parameter, velocity, value in zip(
            self.parameters, self.velocities, values, strict=True
        ):
            velocity[i].zero_()
            parameter[i].copy_(value)


def _aligned(like: Tensor, size: int) -> Tensor:
    """Zeros (size, *shape), each network's aligned."""
    unit = ALIGNMENT // like.element_size()
    stride = -(-like.numel() // unit) * unit
    room = fixed(like.detach(), size, stride).zero_()
    return room.as_strided((size, *like.shape), (stride, *like.stride()))
