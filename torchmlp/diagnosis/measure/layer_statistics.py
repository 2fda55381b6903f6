"""Statistics of the layers: of their weights at the start, and of z, a and δ at a step."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchmlp.diagnosis.record.record import Layer, LayerSample, Part
from torchmlp.diagnosis.trace.layers import TracedLayer
from torchmlp.diagnosis.trace.op_names import NORMS

BLOCKED = 0.01  # of φ's largest slope: below it a unit passes practically no gradient
LINEAR = 0.1
BINS = 40
# Largest slope of an activation, for those whose is not 1.
SLOPES = {"sigmoid": 0.25, "hardsigmoid": 1 / 6, "softsign": 1.0}
SQUASHING = {"sigmoid", "tanh", "hardsigmoid", "hardtanh", "softsign", "relu6"}


def rms(values: Tensor) -> float:
    """Root of the mean square, in float64; 0 for none."""
    return float(values.detach().double().square().mean().sqrt()) if values.numel() else 0.0


def measure_layer(index: int, traced: TracedLayer, model: nn.Module, rows: int) -> Layer:
    """A layer's weight and bias, and the histogram of z, at the start; of so many samples."""
    parameters = dict(model.named_parameters())
    weight = parameters[traced.call.weight]
    owner, _, _ = traced.call.weight.rpartition(".")
    bias_name = f"{owner}.bias" if owner else "bias"
    bias = parameters.get(bias_name)
    matrix = unit_rows(traced, weight)
    z_numbers = traced.call.output.numel()
    is_module = f"{owner}.weight" == traced.call.weight
    found = Layer(
        index=index,
        name=owner if is_module else traced.call.weight,
        kind=traced.call.name,
        fan_in=matrix.shape[1],
        fan_out=matrix.shape[0],
        activation=traced.name,
        has_norm=any(call.name in NORMS for call in traced.after),
        weight_mean=float(matrix.mean()),
        weight_std=float(matrix.std(correction=0)),
        gain=rms(matrix) * math.sqrt(matrix.shape[1]),
        unit_spread=spread(matrix),
        is_trained=weight.requires_grad,
        positions=max(z_numbers // max(rows * matrix.shape[0], 1), 1),
        weight=traced.call.weight,
        bias="" if bias is None else bias_name,
        is_module=is_module
        and traced.call.module == owner
        and not any(call.module == owner for call in traced.after),
        is_turned=traced.call.name != "linear" and weight.ndim == 2,  # noqa: PLR2004  axes
        activation_module=activation_module(traced),
    )
    if bias is not None:
        values = bias.detach().double()
        found.bias_mean = float(values.mean())
        found.bias_std = float(values.std(correction=0))
    z = traced.z.detach().double().flatten()
    if z.numel() and bool(torch.isfinite(z).all()):
        low, high = float(z.min()), float(z.max())
        if low == high:
            low, high = low - 0.5, high + 0.5
        found.z_counts = [int(n) for n in torch.histc(z, BINS, low, high)]
        found.z_edges = [low + (high - low) * k / BINS for k in range(BINS + 1)]
        slopes = slope_of(traced)
        if slopes is not None and slopes.shape == traced.z.shape:
            open_ = slopes.flatten() >= LINEAR * SLOPES.get(traced.name, 1.0)
            if bool(open_.any()):
                inside = z[open_]
                found.linear_range = [float(inside.min()), float(inside.max())]
    return found


def measure_parts(model: nn.Module, layers: Sequence[Layer], loss: Tensor) -> list[Part]:
    """What the network is made of beside its layers: weights, and gradients of the loss."""
    known = {name for layer in layers for name in (layer.weight, layer.bias)}
    rest = {name: p for name, p in model.named_parameters() if name not in known}
    asked = [p for p in rest.values() if p.requires_grad]
    gradients: Sequence[Tensor | None] = ()
    if asked and loss.requires_grad:
        gradients = torch.autograd.grad(loss, asked, retain_graph=True, allow_unused=True)
    found = {id(p): g for p, g in zip(asked, gradients, strict=False)}
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    parts = []
    for name, parameter in rest.items():
        kind, gradient = kinds[name.rpartition(".")[0]], found.get(id(parameter))
        size = rms(parameter)
        is_matrix = parameter.ndim > 1 and "Norm" not in kind
        gain = size if "Embedding" in kind else size * math.sqrt(math.prod(parameter.shape[1:]))
        parts.append(
            Part(
                name,
                kind,
                list(parameter.shape),
                size,
                gain if is_matrix else 1.0,
                None if gradient is None else rms(gradient),
            )
        )
    return parts


def unit_rows(traced: TracedLayer, weight: Tensor) -> Tensor:
    """The weight as (units, fan-in), in float64, whichever way round it is used."""
    matrix = weight.detach().double()
    if traced.call.name not in ("linear", "lstm", "gru") and matrix.ndim == 2:  # noqa: PLR2004
        units = traced.call.output.shape[-1]
        # x @ W holds its units in columns.
        is_transposed = traced.call.args[-1].shape[-1] == units and (
            matrix.shape[1] == units and traced.call.args[-1].shape == weight.shape
        )
        matrix = matrix.T if is_transposed else matrix
    return matrix.flatten(1)


def spread(matrix: Tensor) -> float:
    """Rms over inputs of the std over units, over the rms of all: 0 if all units are equal."""
    size = rms(matrix)
    if len(matrix) < 2 or size == 0:  # noqa: PLR2004  a lone unit is like no other
        return 1.0 if len(matrix) < 2 else 0.0  # noqa: PLR2004
    return rms(matrix - matrix.mean(0)) / size


def activation_module(traced: TracedLayer) -> str:
    """The module that a layer's values are bent by, and that does nothing else; "" if none does."""
    if traced.activation:
        bending = [traced.activation]
    else:
        bending = [c for c in traced.after if c.output.shape == traced.call.output.shape]
    modules = {call.module for call in bending if call.is_leaf}
    only = len(modules) == 1 and all(call.is_leaf for call in bending)
    return modules.pop() if only and traced.is_nonlinear else ""


def slope_of(traced: TracedLayer) -> Tensor | None:
    """|φ'(z)|, like z; None where there is no activation, or no graph to ask."""
    call = traced.activation
    if call is None:
        if traced.name == "identity":
            return None
        start, a = traced.last_linear.output, traced.a
    else:
        start, a = call.args[0], call.output
    if a.requires_grad and start.requires_grad and a.shape == start.shape:
        # Signs at random: a normalisation over the batch has a sum that never moves.
        way = torch.ones(a.numel(), dtype=a.dtype, device=a.device)
        way[::2] = -1
        way = way.view(a.shape)
        (slope,) = torch.autograd.grad(a, start, way, retain_graph=True, allow_unused=True)
        return None if slope is None else slope.abs()
    return None


def sample_layers(
    layers: Sequence[TracedLayer], loss: Tensor, rows: int, weights: Sequence[Tensor]
) -> tuple[list[LayerSample], list[Tensor | None]]:
    """Statistics of every layer in a pass, and the gradients of the weights.

    Args:
        layers: of the pass.
        loss: with its graph, which is kept.
        rows: samples in the batch.
        weights: the layers' own.
    """
    zs = [traced.z for traced in layers]
    wanted = [z for z in zs if z.requires_grad] if loss.requires_grad else []
    trained = [w for w in weights if w.requires_grad] if loss.requires_grad else []
    found: list[Tensor | None] = []
    if wanted or trained:
        found = list(
            torch.autograd.grad(loss, [*wanted, *trained], retain_graph=True, allow_unused=True)
        )
    deltas = iter(found[: len(wanted)])
    gradients = iter(found[len(wanted) :])
    samples, of_weights = [], []
    for traced, z, weight in zip(layers, zs, weights, strict=True):
        delta = next(deltas) if wanted and z.requires_grad else None
        gradient = next(gradients) if trained and weight.requires_grad else None
        of_weights.append(gradient)
        samples.append(_sample(traced, delta, gradient, weight, rows))
    return samples, of_weights


def _sample(
    traced: TracedLayer, delta: Tensor | None, gradient: Tensor | None, weight: Tensor, rows: int
) -> LayerSample:
    z, a = traced.z.detach(), traced.a.detach()
    wide = z.double()
    slope = slope_of(traced)
    sample = LayerSample(
        z_mean=float(wide.mean()),
        z_std=float(wide.std(correction=0)),
        z_max=float(wide.abs().max()) if wide.numel() else 0.0,
        a_rms=rms(a),
        between_sample_variance=between(a, rows),
        weight_rms=rms(weight),
        gradient_rms=None if gradient is None else rms(gradient),
    )
    if slope is not None:
        blocked = slope < BLOCKED * SLOPES.get(traced.name, 1.0)
        sample.saturated = float(blocked.double().mean())
        if traced.call.output.shape[:1] == (rows,):
            sample.dead = float(blocked.flatten(1).all(0).double().mean())
            if blocked.ndim > 2:  # noqa: PLR2004  a channel is a unit
                channels = blocked.transpose(0, 1).flatten(1)
                sample.dead = float(channels.all(1).double().mean())
    if delta is not None:
        # ∂(mean loss)/∂z holds the 1/B of the mean.
        sample.delta_rms = rms(delta) * rows
        if delta.dtype in (torch.float16, torch.bfloat16):
            tiny = torch.finfo(delta.dtype).tiny
            passes = torch.ones_like(delta, dtype=torch.bool) if slope is None else slope > 0
            lost = (delta.abs() < tiny) & passes
            sample.underflow = float(lost.sum() / passes.sum().clamp_min(1))
    return sample


def between(a: Tensor, rows: int) -> float | None:
    """Variance between samples over the mean square; None for a lone sample."""
    if rows < 2 or a.shape[:1] != (rows,):  # noqa: PLR2004  a variance needs two
        return None
    flat = a.double().reshape(rows, -1)
    square = float(flat.square().mean())
    return float(flat.var(0, correction=0).mean()) / square if square > 0 else 0.0
