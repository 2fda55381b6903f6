"""Reference backward pass in float64, paired with the given gradients."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own spelling

from torchmlp.gradcheck.explain.noise import Noise, measure_noise, slope
from torchmlp.gradcheck.inputs import Gradients, as_float, by_name, wrong_shape
from torchmlp.kernels.losses import LOSSES, check_target, loss_delta
from torchmlp.kernels.names import find
from torchmlp.kernels.network import Layer, average_gradients, run, scan_deltas
from torchmlp.nn import MLP

WHO = "explain_gradients"
LARGEST = 1e150  # the squares of larger numbers overflow float64


@dataclass(frozen=True)
class LayerCase:
    """One layer of a `Problem`; rows are samples, all in float64.

    Attributes:
        number: 1 to L.
        layer: weight, bias and activation.
        x: the layer's input, a_{l−1}, (B, fan_in).
        z: its pre-activation, (B, fan_out).
        a: its output, (B, fan_out).
        delta: the right δ_l, (B, fan_out).
        weight_name: the weight's name among the network's parameters.
        bias_name: the bias's; None where there is none.
        given_weight: the weight gradient as it was given, of whatever shape.
        given_bias: the bias gradient as it was given; None where there is no bias.
        right_weight: ∂E/∂W_l, with its weight decay.
        right_bias: ∂E/∂b_l, with the decay that biases are known to have; or None.
        noise: how far right gradients may lie from `right_weight` and `right_bias`.
    """

    number: int
    layer: Layer
    x: Tensor
    z: Tensor
    a: Tensor
    delta: Tensor
    weight_name: str
    bias_name: str | None
    given_weight: Tensor
    given_bias: Tensor | None
    right_weight: Tensor
    right_bias: Tensor | None
    noise: Noise

    @property
    def activation(self) -> str:
        """The activation's name."""
        return self.layer.activation

    def slope(self, z: Tensor) -> Tensor:
        """φ_l' at `z`."""
        return slope(self.activation, z)


@dataclass(frozen=True)
class Problem:
    """A network, a batch, and the gradients under test.

    Attributes:
        layers: first to last.
        target: class indices or float64.
        loss: its name.
        has_softmax: the network ends with a softmax, which the loss reads.
        weight_decay: λ of ½ λ ‖W‖², added to the loss.
        bias_decay: λ_b of ½ λ_b ‖b‖²; None where biases may have the weights' or none.
        eps: the rounding unit of the coarsest dtype among parameters, batch and gradients.
    """

    layers: list[LayerCase]
    target: Tensor
    loss: str
    has_softmax: bool
    weight_decay: float
    bias_decay: float | None
    eps: float

    @property
    def rows(self) -> int:
        """The batch size B."""
        return self.layers[0].x.shape[0]

    @property
    def outputs(self) -> int:
        """The number of outputs K."""
        return self.layers[-1].a.shape[1]

    @property
    def depth(self) -> int:
        """The number of layers L."""
        return len(self.layers)


def output_gradient(a: Tensor, target: Tensor, loss: str, *, has_softmax: bool) -> Tensor:
    """∂e/∂a_L of each sample, through the softmax where the network ends with one."""
    if not has_softmax:
        return loss_delta(a, target, loss)
    p = torch.softmax(a, -1)
    grad_p = loss_delta(p, target, loss)
    return p * (grad_p - (grad_p * p).sum(-1, keepdim=True))


def read_problem(
    network: nn.Module,
    loss: str,
    x: Any,
    target: Any,
    gradients: Gradients,
    weight_decay: float,
    bias_decay: float | None,
) -> Problem:
    """Check what a user hands over and run the right algorithm on it, on the CPU.

    Raises:
        ValueError: a network that is no MLP, shapes that do not fit, missing gradients, nan, or
            numbers that overflow.
        TypeError: dtypes that do not fit.
    """
    find("loss", loss, LOSSES)
    mlp, has_softmax, names = _read_network(network)
    given = by_name(gradients, [n for pair in names for n in pair if n is not None], WHO)
    x = as_float(x, "x", ("B", str(mlp.in_features)), WHO).cpu()
    if x.shape[-1:] != (mlp.in_features,):
        raise ValueError(
            f"{WHO}: expected x of shape (B, {mlp.in_features}) for a weight of shape "
            f"{tuple(mlp.weights[0].shape)}, got shape {tuple(x.shape)}"
        )
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(f"{WHO}: expected weight_decay >= 0, got {weight_decay}")
    if bias_decay is not None and not 0 <= bias_decay < float("inf"):
        raise ValueError(f"{WHO}: expected bias_decay >= 0 or None, got {bias_decay}")
    rows = x.shape[:-1]
    target = torch.as_tensor(target).detach().cpu()
    check_target(torch.Size((*rows, mlp.out_features)), target, loss)
    target = target.reshape(rows.numel(), *target.shape[len(rows) :])
    if target.is_floating_point():
        target = target.double()
    flat = x.reshape(rows.numel(), -1)

    layers = [
        Layer(w.detach().cpu(), None if b is None else b.detach().cpu(), phi)
        for w, b, phi in zip(mlp.weights, mlp.biases, mlp.activations, strict=True)
    ]
    wide = [Layer(w.double(), None if b is None else b.double(), phi) for w, b, phi in layers]
    passed = run(flat.double(), wide)

    def error(a: Tensor) -> Tensor:
        return output_gradient(a, target, loss, has_softmax=has_softmax)

    deltas = scan_deltas(error(passed.a[-1]), passed, wide)
    right = average_gradients(deltas, passed, wide)
    largest = _largest([*passed.a, *passed.z, *deltas, *(g for pair in right for g in pair)])
    values = {name: _value(given[name], name, p, largest) for name, p in _parameters(names, layers)}
    _largest(values.values())
    dtype = _coarsest([flat, *(w for w, _, _ in layers), *values.values()])
    size = _error_size(passed.a[-1], target, loss, has_softmax=has_softmax)
    noise = measure_noise(wide, passed, deltas, error, size, dtype)
    cases = [
        LayerCase(
            k + 1,
            wide[k],
            passed.a[k],
            passed.z[k],
            passed.a[k + 1],
            deltas[k],
            weight_name,
            bias_name,
            values[weight_name].double(),
            None if bias_name is None else values[bias_name].double(),
            right[k].weight + weight_decay * wide[k].weight,
            _decayed(right[k].bias, wide[k].bias, bias_decay or 0.0),
            noise[k],
        )
        for k, (weight_name, bias_name) in enumerate(names)
    ]
    for case in cases:
        _check_shapes(case)
    eps = torch.finfo(dtype).eps
    return Problem(cases, target, loss, has_softmax, weight_decay, bias_decay, eps)


def _decayed(gradient: Tensor | None, bias: Tensor | None, decay: float) -> Tensor | None:
    return None if gradient is None or bias is None else gradient + decay * bias


def _error_size(a: Tensor, target: Tensor, loss: str, *, has_softmax: bool) -> Tensor:
    """The size of the numbers whose difference e' is: of a or p, and t."""
    if not target.is_floating_point():
        target = F.one_hot(target, a.shape[1]).double()
    if has_softmax:
        p = torch.softmax(a, -1)
        size = p.abs() + target.abs() if loss == "mse" else 1 + target.abs()
        return p * (size + (size * p).sum(-1, keepdim=True))
    if loss == "mse":
        return a.abs() + target.abs()
    if loss == "bce":
        return torch.sigmoid(a) + target.abs()
    return torch.softmax(a, -1) * target.sum(-1, keepdim=True).abs() + target.abs()


def _largest(tensors: Iterable[Tensor | None]) -> float:
    """The largest absolute value of all.

    Raises:
        ValueError: it is not finite, or its square would not be.
    """
    most = [float(t.abs().max()) for t in tensors if t is not None and t.numel()]
    largest = max((math.inf if math.isnan(m) else m for m in most), default=0.0)
    if not largest < LARGEST:
        raise _overflow(largest, torch.float64)
    return largest


def _overflow(largest: float, dtype: torch.dtype) -> ValueError:
    return ValueError(
        f"{WHO}: cannot be judged: overflow: the right algorithm itself meets numbers of "
        f"{largest:.3g}, too large for {dtype}; take smaller weights, or scale the inputs"
    )


def _read_network(network: nn.Module) -> tuple[MLP, bool, list[tuple[str, str | None]]]:
    """The network as an MLP, whether a softmax follows it, and its parameters' names by layer."""
    has_softmax = False
    if isinstance(network, nn.Sequential):
        modules = list(network)
        if modules and isinstance(modules[-1], nn.Softmax):
            has_softmax, modules = True, modules[:-1]
        linear = [f"{k}" for k, m in enumerate(modules) if isinstance(m, nn.Linear)]
        mlp = MLP.from_sequential(nn.Sequential(*modules))
    elif isinstance(network, MLP):
        linear = [f"layers.{k}" for k in range(len(network.layers))]
        mlp = network
    else:
        raise TypeError(
            f"{WHO}: expected an MLP or an nn.Sequential of nn.Linear and activations, got "
            f"{type(network).__name__}"
        )
    if network.training and (mlp.dropout or mlp.input_dropout):
        raise ValueError(
            f"{WHO}: the network drops units at random (dropout={mlp.dropout}, "
            f"input_dropout={mlp.input_dropout}); call network.eval() and take the gradients again"
        )
    names = [
        (f"{name}.weight", None if bias is None else f"{name}.bias")
        for name, bias in zip(linear, mlp.biases, strict=True)
    ]
    return mlp, has_softmax, names


def _parameters(
    names: Sequence[tuple[str, str | None]], layers: Sequence[Layer]
) -> list[tuple[str, Tensor]]:
    return [
        (name, tensor)
        for both, layer in zip(names, layers, strict=True)
        for name, tensor in zip(both, layer[:2], strict=True)
        if name is not None and tensor is not None
    ]


def _value(gradient: Any, name: str, parameter: Tensor, largest: float) -> Tensor:
    if gradient is None:  # what torch leaves where no gradient arrived
        return torch.zeros_like(parameter)
    dtype = torch.as_tensor(gradient).dtype if hasattr(gradient, "dtype") else torch.float64
    if dtype.is_floating_point and largest > torch.finfo(dtype).max:
        raise _overflow(largest, dtype)
    value = as_float(gradient, f"the gradient of {name}", parameter.shape, WHO)
    is_row = parameter.ndim == 1 and value.shape == (1, *parameter.shape)
    return (value[0] if is_row else value).cpu()  # numpy's keepdims is no mistake


def _check_shapes(case: LayerCase) -> None:
    """Refuse a shape that no mistake of the catalogue has."""
    rows, (fan_out, fan_in) = case.x.shape[0], case.layer.weight.shape
    if case.given_weight.shape not in ((fan_out, fan_in), (fan_in, fan_out)):
        raise wrong_shape(case.weight_name, case.given_weight.shape, (fan_out, fan_in), WHO)
    if case.bias_name is not None and case.given_bias is not None:
        wrong = ((rows,), (), (1,), (rows, fan_out))  # summed over another axis, or not at all
        if case.given_bias.shape not in ((fan_out,), *wrong):
            raise wrong_shape(case.bias_name, case.given_bias.shape, (fan_out,), WHO)


def _coarsest(tensors: Sequence[Tensor]) -> torch.dtype:
    return max((t.dtype for t in tensors), key=lambda dtype: torch.finfo(dtype).eps)
