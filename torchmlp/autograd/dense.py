"""The dense layer as an autograd node: where the hand-written equations meet PyTorch."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.overrides import handle_torch_function

from torchmlp.autograd.composed import composed_dense, is_composed, is_foreign, is_watched
from torchmlp.kernels.activations import ACTIVATIONS, pull_back
from torchmlp.kernels.dense import (
    averaging_scale,
    dense_forward,
    dense_grad_bias,
    dense_grad_weight,
    dense_grad_x,
)
from torchmlp.kernels.names import find


def dense(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str = "identity",
    *,
    average: bool = False,
) -> Tensor:
    """A dense layer, φ(x Wᵀ + b), whose derivatives are written by hand.

    Args:
        x: input, (*batch, fan_in); any number of batch axes, none and zero rows included.
        weight: (fan_out, fan_in).
        bias: (fan_out,) or None.
        activation: one of the names in `torchmlp.kernels.activations.ACTIVATIONS`; identity,
            sigmoid and tanh take complex numbers too.
        average: divide the weight's and the bias's gradient by the number of rows. Asked for by a
            caller who sums the per-sample losses and wants the gradient of their mean; by default
            gradients are sums over the rows, as autograd's are, and gradcheck holds.

    Returns:
        (*batch, fan_out), in the dtype of `x`; under autocast in autocast's dtype.

    Raises:
        ValueError: shapes or devices that do not fit, or an unknown activation.
        TypeError: dtypes that differ, or that the activation has no meaning for.

    Forward-mode derivatives, tensor subclasses and exported programs take the same equations in
    torch's own operators, with PyTorch's derivatives: see `torchmlp.autograd.composed`.

    Source: Nielsen (2015), chapter 2, BP1 to BP4. Checked in tests/autograd/test_dense.py.

    Example:
        >>> dense(torch.tensor([[1.0, 2.0]]), torch.eye(2), torch.tensor([0.0, -3.0]), "relu")
        tensor([[1., 0.]])
    """
    find("activation", activation, ACTIVATIONS)
    if is_foreign(x, weight, bias):
        return composed_dense(x, weight, bias, activation, average=average)
    if is_watched():
        result: Tensor = handle_torch_function(
            dense, (), x, weight, bias, activation, average=average
        )
        return result
    check_dense(x.shape, x, weight, bias, activation)
    x, weight, bias = under_autocast(x, weight, bias)
    if is_composed(x, weight, bias):
        return composed_dense(x, weight, bias, activation, average=average)
    apply: Any = DenseFunction.apply
    outputs = apply(x, weight, bias, activation, average)
    a: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    return a


class DenseFunction(Function):
    """a = φ(z), z = x Wᵀ + b, and its reverse mode.

    Returns `a`, followed by z where φ' is a function of z: what backward saves has to be an input
    or an output, or second derivatives are silently wrong. It defines no jvp: Dynamo would refuse
    it, and nested forward mode would be silently zero.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, average: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        del average  # a matter of the backward pass
        a, z = dense_forward(x, weight, bias, activation)
        return (a, z) if ACTIVATIONS[activation].reads == "z" else a

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, weight, _, activation, average = inputs
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        reads = ACTIVATIONS[activation].reads
        ctx.save_for_backward(
            x if wants_weight else None,
            weight if wants_x else None,
            output[1] if reads == "z" else output if reads == "a" else None,
        )
        ctx.set_materialize_grads(value=False)
        ctx.activation, ctx.average, ctx.dtype = activation, average, x.dtype

    @staticmethod
    def backward(ctx: Any, *grad_output: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, read = ctx.saved_tensors
        grad_a, grad_z = (*grad_output, None)[:2]
        delta = grad_z
        if grad_a is not None:
            # Autocast may have widened the activation's output, and with it what arrives.
            delta = pull_back(grad_a, read, read, ctx.activation).to(ctx.dtype)
            delta = delta if grad_z is None else delta + grad_z
        if delta is None:
            return (None,) * 5
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        scale = averaging_scale(delta.shape[:-1].numel()) if ctx.average else 1.0
        return (
            dense_grad_x(delta, weight) if wants_x else None,
            dense_grad_weight(delta, x, scale) if wants_weight else None,
            dense_grad_bias(delta, scale) if wants_bias else None,
            None,
            None,
        )


def autocast_is_on(device: str) -> bool:
    """Whether autocast is on for this type of device; never for one that has none, as "meta"."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def autocast_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype in which autocast would hand the tensor to torch.nn.functional.linear.

    float64 is left alone, as autocast leaves it.
    """
    device = tensor.device.type
    restored_afterwards = tensor.dtype == torch.float64 or not tensor.is_floating_point()
    if restored_afterwards or not autocast_is_on(device):
        return tensor.dtype
    return torch.get_autocast_dtype(device)


def under_autocast(*tensors: Tensor | None) -> tuple[Any, ...]:
    """The tensors as autocast would hand them to torch.nn.functional.linear.

    Outside the Function, so that the casts' own derivatives are autograd's.
    """
    return tuple(
        # No .to() without need: Dynamo would trace it as an operation.
        tensor if tensor is None or dtype == tensor.dtype else tensor.to(dtype)
        for tensor in tensors
        for dtype in (tensor if tensor is None else autocast_dtype(tensor),)
    )


def check_dense(
    shape: torch.Size,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str,
    layer: str = "dense",
) -> None:
    """Compare the arguments of a dense layer with each other before anything is computed.

    Args:
        shape: the shape of the layer's input.
        x: the input; only its dtype and device are used.
        weight: as `dense` takes it.
        bias: as `dense` takes it.
        activation: an activation's name.
        layer: what the message begins with.

    Raises:
        ValueError: shapes or devices that do not fit; both are named.
        TypeError: dtypes that differ, or that the activation has no meaning for.
    """
    if weight.ndim != 2:  # noqa: PLR2004  a matrix
        raise ValueError(
            f"{layer}: expected a weight of shape (out_features, in_features), got shape "
            f"{tuple(weight.shape)}"
        )
    fan_out, fan_in = weight.shape
    _check_dtype(shape, x, activation, layer)
    if len(shape) == 0 or shape[-1] != fan_in:
        images = len(shape) > 1 and shape[1:].numel() == fan_in
        raise ValueError(
            f"{layer}: expected last dimension in_features={fan_in} for a weight of shape "
            f"{tuple(weight.shape)}, got input of shape {tuple(shape)}"
            + ("; flatten the images first: x.flatten(1)" if images else "")
        )
    if bias is not None and bias.shape != (fan_out,):
        raise ValueError(
            f"{layer}: expected a bias of shape ({fan_out},) for a weight of shape "
            f"{tuple(weight.shape)}, got shape {tuple(bias.shape)}"
        )
    for name, other in (("weight", weight), ("bias", bias)):
        if other is None:
            continue
        if autocast_dtype(other) != autocast_dtype(x):
            raise TypeError(
                f"{layer}: expected one dtype, got input {x.dtype} of shape {tuple(shape)} and "
                f"{name} {other.dtype} of shape {tuple(other.shape)}; convert one of them with "
                f".to(dtype)"
            )
        if other.device != x.device:
            raise ValueError(
                f"{layer}: expected one device, got input of shape {tuple(shape)} on {x.device} "
                f"and {name} of shape {tuple(other.shape)} on {other.device}; move one of them "
                f"with .to(device)"
            )


def _check_dtype(shape: torch.Size, x: Tensor, activation: str, layer: str) -> None:
    if x.is_complex() and not ACTIVATIONS[activation].holomorphic:
        known = ", ".join(name for name, phi in ACTIVATIONS.items() if phi.holomorphic)
        raise TypeError(
            f"{layer}: {activation} has no meaning for {x.dtype} (input of shape {tuple(shape)}); "
            f"complex numbers go through {known}"
        )
    if not (x.is_floating_point() or x.is_complex()):
        raise TypeError(
            f"{layer}: expected a floating-point input, got {x.dtype} of shape {tuple(shape)}; "
            f"convert it with x.float()"
        )
