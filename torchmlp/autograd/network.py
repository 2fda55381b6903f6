"""The whole network with its loss as one autograd node."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.overrides import handle_torch_function

from torchmlp._compat.torch_internals import functorch_is_active, version_of
from torchmlp.autograd.composed import is_composed, is_foreign, is_watched
from torchmlp.autograd.dense import (
    DenseFunction,
    autocast_dtype,
    check_dense,
    dense,
    under_autocast,
)
from torchmlp.autograd.loss import mean_loss
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.dense import (
    averaging_scale,
    dense_grad_bias,
    dense_grad_weight,
    dense_grad_x,
)
from torchmlp.kernels.losses import LOSSES, check_target, loss_delta
from torchmlp.kernels.names import find
from torchmlp.kernels.network import Layer, Pass, loss_of, run, scan_deltas


def network_loss(
    x: Tensor,
    target: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None,
    activations: Sequence[str] | str,
    loss: str = "cross_entropy",
) -> Tensor:
    """The mean loss of a whole multilayer perceptron, as one autograd node.

    The forward pass, the deltas in one backward scan, the averaged weight and bias gradients: the
    equations of `torchmlp.kernels.network`. Deltas are kept per sample and the average is taken
    inside the gradients' matrix products, which keeps 16-bit deltas out of the subnormal numbers.

    Args:
        x: (*batch, fan_in of the first layer).
        target: as in `mean_loss`.
        weights: L tensors (fan_out, fan_in), first layer first.
        biases: L tensors (fan_out,), each of which may be None; None for no bias anywhere.
        activations: L names, the output layer's last; one name means every layer.
        loss: "cross_entropy", "mse" or "bce".

    Returns:
        A scalar.

    Raises:
        ValueError: no layers, lists of different lengths, shapes that do not fit, unknown names.
        TypeError: dtypes that do not fit.

    Source: Nielsen (2015), chapter 2. Checked in tests/autograd/test_network.py.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> W = [torch.randn(4, 3, requires_grad=True), torch.randn(2, 4, requires_grad=True)]
        >>> E = network_loss(torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1]), W, None,
        ...                  ["tanh", "identity"], "cross_entropy")
        >>> E.backward()
        >>> [tuple(w.grad.shape) for w in W]
        [(4, 3), (2, 4)]
    """
    names = [activations] * len(weights) if isinstance(activations, str) else list(activations)
    biases = [None] * len(weights) if biases is None else list(biases)
    _check_lengths(len(weights), len(biases), len(names))
    find("loss", loss, LOSSES)
    if is_foreign(x, target, *weights, *biases):
        return _chain(x, target, weights, biases, names, loss)
    if is_watched():
        watched: Tensor = handle_torch_function(
            network_loss, (), x, target, weights, biases, names, loss
        )
        return watched
    layers = [Layer(*layer) for layer in zip(weights, biases, names, strict=True)]
    check_target(_output_shape(x, layers), target, loss)
    dtype = torch.float32 if autocast_dtype(x) != x.dtype else x.dtype
    x, *parameters = under_autocast(x, *(p for layer in layers for p in layer[:2]))
    if _needs_chain(x, target, parameters):
        return _chain(x, target, parameters[::2], parameters[1::2], names, loss)
    apply: Any = NetworkFunction.apply
    value: Tensor = apply(x, target, loss, names, dtype, *parameters)
    return value


class NetworkFunction(Function):
    """E of the whole network. Its last inputs are W_1, b_1, ..., W_L, b_L; every W is trained.

    Plain reverse mode only, hence without `setup_context`, which costs every call an
    inspect.signature: this is the path that training takes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        target: Tensor,
        loss: str,
        activations: Sequence[str],
        dtype: torch.dtype,
        *parameters: Tensor | None,
    ) -> Tensor:
        passed = run(x, _layers(parameters, activations))
        z = [
            z if ACTIVATIONS[name].reads == "z" else None
            for z, name in zip(passed.z, activations, strict=True)
        ]
        first, *others = parameters[::2]
        weights = [first if ctx.needs_input_grad[0] else None, *others]
        ctx.save_for_backward(target, *weights, *passed.a, *z)
        # Only second derivatives read these: saved, they would be guarded against changes that a
        # first derivative does not mind, and count as memory kept.
        ctx.unsaved = (first, *parameters[1::2])
        ctx.versions = _versions(ctx.unsaved)
        ctx.loss, ctx.activations = loss, activations
        return loss_of(passed, target, loss).to(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        depth = len(ctx.activations)
        target, *saved = ctx.saved_tensors
        weights, a, z = saved[:depth], saved[depth : 2 * depth + 1], saved[2 * depth + 1 :]
        first, *biases = ctx.unsaved
        if torch.is_grad_enabled() and _versions(ctx.unsaved) != ctx.versions:
            raise RuntimeError(
                "network_loss: a weight or bias needed for second derivatives has been modified by "
                "an inplace operation; differentiate before it is changed"
            )
        weights = [first, *weights[1:]]
        layers = [Layer(*layer) for layer in zip(weights, biases, ctx.activations, strict=True)]
        passed = Pass(a, z)
        if torch.is_grad_enabled():
            # Second derivatives are wanted: what was saved between input and output carries no
            # graph, so the forward pass is taken again through nodes that do.
            passed = run(a[0], layers, _dense_node)
        output = passed.a[-1]
        scale = averaging_scale(output.shape[:-1].numel())
        wants_x, wants_target, _, _, _, *wants = ctx.needs_input_grad
        grad_x = grad_target = None
        if wants_target:
            grad_target = LOSSES[ctx.loss].grad_target(output, target) * (grad * scale)
        delta_output = loss_delta(output, target, ctx.loss)
        # In the loss's dtype: a 16-bit product would cast a scaler's 65536 to infinity.
        delta_output = (delta_output.to(grad.dtype) * grad).to(output.dtype)
        deltas = scan_deltas(delta_output, passed, layers)
        grad_parameters: list[Tensor | None] = []
        for delta, input_, wants_bias in zip(deltas, passed.a[:-1], wants[1::2], strict=True):
            grad_parameters += [
                dense_grad_weight(delta, input_, scale),
                dense_grad_bias(delta, scale) if wants_bias else None,
            ]
        if wants_x:
            grad_x = dense_grad_x(deltas[0], layers[0].weight) * scale
        return (grad_x, grad_target, None, None, None, *grad_parameters)


def _versions(tensors: Sequence[Tensor | None]) -> list[int]:
    # Inference tensors keep no count, and cannot be changed while anybody differentiates.
    return [0 if t is None or t.is_inference() else version_of(t) for t in tensors]


def _chain(
    x: Tensor,
    target: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activations: Sequence[str],
    loss: str,
) -> Tensor:
    """The same network as one node for each layer and one for the loss."""
    for layer in zip(weights, biases, activations, strict=True):
        x = dense(x, *layer)
    return mean_loss(x, target, loss)


def _dense_node(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str
) -> tuple[Tensor, Tensor]:
    apply: Any = DenseFunction.apply
    outputs = apply(x, weight, bias, activation, False)  # apply takes no keywords
    return outputs if isinstance(outputs, tuple) else (outputs, outputs)


def _layers(parameters: Sequence[Any], activations: Sequence[str]) -> list[Layer]:
    triples = zip(parameters[::2], parameters[1::2], activations, strict=True)
    return [Layer(*triple) for triple in triples]


def _needs_chain(x: Tensor, target: Tensor, parameters: Sequence[Tensor | None]) -> bool:
    """Whether the network is a chain of `dense` and `mean_loss` nodes: the same equations.

    In a transform that NetworkFunction has no form for, and where a weight is frozen: then some
    activations need not be kept and some products not be taken, and each node of a chain knows its
    own.
    """
    weights = parameters[::2]
    return (
        torch.compiler.is_compiling()
        or functorch_is_active()  # what Function.apply asks
        or is_composed(x, target, *parameters)
        or not all(weight is not None and weight.requires_grad for weight in weights)
    )


def _check_lengths(weights: int, biases: int, activations: int) -> None:
    if weights == 0:
        raise ValueError("network_loss: expected at least one layer, got no weights")
    for name, count in (("biases", biases), ("activations", activations)):
        if count != weights:
            raise ValueError(
                f"network_loss: expected one entry per layer, got {weights} weights and "
                f"{count} {name}"
            )


def _output_shape(x: Tensor, layers: Sequence[Layer]) -> torch.Size:
    """The shape of the network's output, after every layer's arguments have been checked."""
    shape = x.shape
    for k, layer in enumerate(layers, 1):
        find("activation", layer.activation, ACTIVATIONS)
        check_dense(shape, x, *layer, f"network_loss, layer {k}")
        shape = torch.Size((*shape[:-1], layer.weight.shape[0]))
    return shape
