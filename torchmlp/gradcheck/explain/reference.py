"""Reference backward pass in float64, paired with the given gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchmlp.gradcheck.inputs import Gradients, as_float, by_name, wrong_shape
from torchmlp.kernels.activations import activate, pull_back
from torchmlp.kernels.losses import LOSSES, check_target, loss_delta
from torchmlp.kernels.names import find
from torchmlp.kernels.network import Layer, average_gradients, run, scan_deltas
from torchmlp.nn import MLP

WHO = "explain_gradients"
ROUNDINGS = 8.0  # how far apart two right float32 programs may lie, in units of what one measures


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
        right_weight: ∂E/∂W_l.
        right_bias: ∂E/∂b_l, or None.
        noise: how far right gradients may lie from `right_weight` and `right_bias`, relative to
            ‖δ_l‖·‖x‖ and ‖δ_l‖: what rounding does, measured, and samples on a kink.
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
    noise: float

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
    """

    layers: list[LayerCase]
    target: Tensor
    loss: str
    has_softmax: bool
    weight_decay: float

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


def slope(activation: str, z: Tensor) -> Tensor:
    """φ'(z), elementwise."""
    return pull_back(torch.ones_like(z), z, activate(z, activation), activation)


def output_gradient(a: Tensor, target: Tensor, loss: str, *, has_softmax: bool) -> Tensor:
    """∂e/∂a_L of each sample, through the softmax where the network ends with one."""
    if not has_softmax:
        return loss_delta(a, target, loss)
    p = torch.softmax(a, -1)
    grad_p = loss_delta(p, target, loss)
    return p * (grad_p - (grad_p * p).sum(-1, keepdim=True))


def read_problem(
    network: nn.Module, loss: str, x: Any, target: Any, gradients: Gradients, weight_decay: float
) -> Problem:
    """Check what a user hands over and run the right algorithm on it, on the CPU.

    Raises:
        ValueError: a network that is no MLP, shapes that do not fit, missing gradients, nan.
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
    grad = output_gradient(passed.a[-1], target, loss, has_softmax=has_softmax)
    deltas = scan_deltas(grad, passed, wide)
    right = average_gradients(deltas, passed, wide)
    values = {name: _value(given[name], name, p) for name, p in _parameters(names, layers)}
    dtype = _coarsest([flat, *(w for w, _, _ in layers), *values.values()])
    noise = _noise(wide, flat, target, loss, dtype, has_softmax=has_softmax)
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
            right[k].weight,
            right[k].bias,
            noise[k],
        )
        for k, (weight_name, bias_name) in enumerate(names)
    ]
    for case in cases:
        _check_shapes(case)
    return Problem(cases, target, loss, has_softmax, weight_decay)


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


def _value(gradient: Any, name: str, parameter: Tensor) -> Tensor:
    if gradient is None:  # what torch leaves where no gradient arrived
        return torch.zeros_like(parameter)
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


def _noise(
    wide: list[Layer],
    x: Tensor,
    target: Tensor,
    loss: str,
    dtype: torch.dtype,
    *,
    has_softmax: bool,
) -> list[float]:
    """How far right programs may lie apart, layer by layer: see `LayerCase.noise`.

    The right algorithm is run once more in `dtype` (in float32 where that is float64, and scaled),
    and the largest difference to float64 down to that layer is taken `ROUNDINGS` times. A sample
    whose z lies within rounding of a kink counts with its whole delta.
    """
    eps = torch.finfo(dtype).eps
    coarse = torch.float32 if dtype == torch.float64 else dtype
    narrow = [Layer(w.to(coarse), None if b is None else b.to(coarse), phi) for w, b, phi in wide]
    soft = target.to(coarse) if target.is_floating_point() else target
    passes = []
    for layers, at, t in ((narrow, x.to(coarse), soft), (wide, x.double(), target)):
        passed = run(at, layers)
        grad = output_gradient(passed.a[-1], t, loss, has_softmax=has_softmax)
        deltas = scan_deltas(grad, passed, layers)
        passes.append((passed, deltas))
    (rough, rough_deltas), (exact, exact_deltas) = passes
    noise: list[float] = []
    worst = 4 * eps
    for k in reversed(range(len(wide))):
        delta, kinky = exact_deltas[k], _at_a_kink(exact.z[k], wide[k].activation, eps)
        size = delta.norm().item() or 1.0
        # Samples that a rounding carries over a kink differ by whole deltas: counted below, apart.
        flipped = _at_a_kink(exact.z[k], wide[k].activation, torch.finfo(coarse).eps)
        difference = (rough_deltas[k].double() - delta).masked_fill(flipped, 0.0).norm().item()
        inputs = exact.a[k].norm().item() or 1.0
        difference_in = (rough.a[k].double() - exact.a[k]).norm().item() / inputs
        measured = (difference / size + difference_in) * (eps / torch.finfo(coarse).eps)
        through = delta if k == len(wide) - 1 else exact_deltas[k + 1] @ wide[k + 1].weight
        on_kinks = through[kinky].norm().item() / size if bool(kinky.any()) else 0.0
        worst = max(worst, ROUNDINGS * measured) + on_kinks
        noise.insert(0, worst)
    return noise


_KINKS = {
    "relu": (0.0,),
    "leaky_relu": (0.0,),
    "relu6": (0.0, 6.0),
    "hardtanh": (-1.0, 1.0),
    "hardswish": (-3.0, 3.0),
    "selu": (0.0,),
}


def _at_a_kink(z: Tensor, activation: str, eps: float) -> Tensor:
    """Where a rounding decides on which side of a kink z lies; never z that is exactly on it."""
    near = torch.zeros_like(z, dtype=torch.bool)
    reach = 64 * eps * (z.abs().mean() + 1)
    for kink in _KINKS.get(activation, ()):
        near |= ((z - kink).abs() <= reach) & (z != kink)
    return near
