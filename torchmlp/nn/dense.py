"""The dense layer as a module."""

import torch
from torch import Tensor, nn

from torchmlp.autograd.dense import dense
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.names import find


class Dense(nn.Linear):
    """torch.nn.Linear followed by an activation, with hand-written derivatives.

    It is an nn.Linear: the same parameters, the same initial weights from the same seed, and
    state_dicts that load both ways.

    Args:
        in_features: size of the input's last axis.
        out_features: size of the output's last axis.
        bias: whether there is one.
        activation: one of the names in `torchmlp.kernels.activations.ACTIVATIONS`.
        device: where the parameters live.
        dtype: a floating dtype.

    Raises:
        ValueError: an unknown activation.

    Shape: (*batch, in_features) -> (*batch, out_features).

    Example:
        >>> Dense(784, 10, activation="relu")(torch.zeros(32, 784)).shape
        torch.Size([32, 10])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: str = "identity",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        find("activation", activation, ACTIVATIONS)
        super().__init__(in_features, out_features, bias, device, dtype)
        self.activation = activation

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  nn.Linear's word
        """φ(x Wᵀ + b), x being the input."""
        return dense(input, self.weight, self.bias, self.activation)

    def extra_repr(self) -> str:
        """What print shows between the parentheses."""
        return f"{super().extra_repr()}, activation={self.activation!r}"
