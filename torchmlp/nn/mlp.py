"""The multilayer perceptron as a module."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from torchmlp.autograd.dropout import check_dropout, dropout
from torchmlp.kernels.init import initialise_, parse_init
from torchmlp.kernels.parametrization import Growth, growths, init_factor
from torchmlp.nn.dense import Dense
from torchmlp.nn.sequential import from_sequential, to_sequential


class MLP(nn.Module):
    """A multilayer perceptron: dense layers, one after the other.

    Args:
        in_features: size of the input's last axis.
        hidden: widths of the hidden layers, first to last; a number for one layer, () for none.
        out_features: size of the output's last axis.
        activation: of every hidden layer.
        output_activation: of the last layer. The losses of this package read logits, so "identity"
            is what a classifier wants.
        init: "auto" (by activation), "he", "xavier", "lecun", "normal(std)", "uniform(low, high)"
            or "constant(value)": see `torchmlp.kernels.init`. Biases start at zero.
        bias: whether the layers have one.
        dropout: probability with which a hidden unit is dropped in training.
        input_dropout: the same for an input.
        device: where the parameters live.
        dtype: a floating dtype.
        parametrization: "standard", or "mup" for a best learning rate that does not move as the
            hidden layers are widened; the optimizer then needs `scale_rates`
            (torchmlp.nn.param_groups). See `torchmlp.kernels.parametrization`.
        base_width: of the hidden layers at which "mup" is "standard".

    Raises:
        ValueError: a width or base_width below 1, an unknown activation, init or parametrization,
            a dropout outside 0 <= rate < 1.

    Shape: (*batch, in_features) -> (*batch, out_features).

    Example:
        >>> MLP(784, [128, 64], 10)(torch.zeros(32, 784)).shape
        torch.Size([32, 10])
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int] | int,
        out_features: int,
        activation: str = "relu",
        output_activation: str = "identity",
        init: str = "auto",
        bias: bool = True,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        parametrization: str = "standard",
        base_width: int = 64,
    ) -> None:
        super().__init__()
        widths = [in_features, *([hidden] if isinstance(hidden, int) else hidden), out_features]
        if min(widths) < 1:
            raise ValueError(
                f"MLP: expected widths of at least 1, got in_features={in_features}, "
                f"hidden={hidden}, out_features={out_features}"
            )
        check_dropout(dropout)
        check_dropout(input_dropout, "input_dropout")
        parse_init(init)
        growths(widths, parametrization, base_width)
        activations = [activation] * (len(widths) - 2) + [output_activation]
        self.layers = nn.ModuleList(
            Dense(fan_in, fan_out, bias, phi, device, dtype)
            for fan_in, fan_out, phi in zip(widths, widths[1:], activations, strict=False)
        )
        self.init, self.dropout, self.input_dropout = init, dropout, input_dropout
        self.parametrization, self.base_width = parametrization, base_width
        self.reset_parameters()

    @property
    def in_features(self) -> int:
        """Size of the input's last axis."""
        return self._dense[0].in_features

    @property
    def out_features(self) -> int:
        """Size of the output's last axis."""
        return self._dense[-1].out_features

    @property
    def hidden(self) -> list[int]:
        """Widths of the hidden layers."""
        return [layer.out_features for layer in self._dense[:-1]]

    @property
    def weights(self) -> list[Tensor]:
        """The layers' weights, first to last, as `network_loss` takes them."""
        return [layer.weight for layer in self._dense]

    @property
    def biases(self) -> list[Tensor | None]:
        """The layers' biases, first to last; None where a layer has none."""
        return [layer.bias for layer in self._dense]

    @property
    def activations(self) -> list[str]:
        """The layers' activations, first to last."""
        return [layer.activation for layer in self._dense]

    @property
    def growths(self) -> list[Growth]:
        """How much larger than in the reference network each layer is, first to last."""
        widths = [self.in_features, *self.hidden, self.out_features]
        return growths(widths, self.parametrization, self.base_width)

    @property
    def _dense(self) -> list[Dense]:
        return cast("list[Dense]", list(self.layers))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new weights by `init` and `parametrization`; set the biases to zero."""
        last = self._dense[-1]
        for layer, growth in zip(self._dense, self.growths, strict=True):
            initialise_(layer.weight, layer.bias, layer.activation, self.init)
            fans = layer.in_features, layer.out_features
            factor = init_factor(layer.activation, self.init, *fans, growth, is_last=layer is last)
            layer.weight.mul_(factor)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  nn.Sequential's word
        """The output of the last layer: logits, with an identity output."""
        x = dropout(input, self.input_dropout, training=self.training)
        *hidden, last = self.layers
        for layer in hidden:
            x = dropout(layer(x), self.dropout, training=self.training)
        output: Tensor = last(x)
        return output

    def to_sequential(self) -> nn.Sequential:
        """The same network of plain torch modules, weights copied bit for bit.

        nn.Linear and nn.<Activation> alternate; nn.Dropout stands where a dropout rate is not zero,
        and an identity leaves no module. Nobody needs this package to deploy the result.
        """
        return to_sequential(self._dense, self.dropout, self.input_dropout).train(self.training)

    @classmethod
    def from_sequential(cls, network: nn.Sequential) -> "MLP":
        """The MLP of a plain nn.Sequential of nn.Linear and activations; weights bit for bit.

        Raises:
            ValueError: a module that an MLP has no place for, by its position and name, or widths
                that do not follow each other.
        """
        layers, rate, input_rate = from_sequential(network)
        mlp = cls.__new__(cls)
        nn.Module.__init__(mlp)
        mlp.layers = nn.ModuleList(layers)
        mlp.init, mlp.dropout, mlp.input_dropout = "auto", rate, input_rate
        mlp.parametrization, mlp.base_width = "standard", 64
        return mlp.train(network.training)
