"""The dense layer as an autograd node: where the hand-written equations meet PyTorch."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

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
        activation: one of the names in `torchmlp.kernels.activations.ACTIVATIONS`.
        average: divide the weight's and the bias's gradient by the number of rows. Asked for by a
            caller who sums the per-sample losses and wants the gradient of their mean; by default
            gradients are sums over the rows, as autograd's are, and gradcheck holds.

    Returns:
        (*batch, fan_out), in the dtype of `x`; under autocast in autocast's dtype.

    Raises:
        ValueError: shapes or devices that do not fit, or an unknown activation.
        TypeError: dtypes that differ or are not floating point.

    Source: Nielsen (2015), chapter 2, BP1 to BP4. Checked in tests/autograd/test_dense.py.

    Example:
        >>> dense(torch.tensor([[1.0, 2.0]]), torch.eye(2), torch.tensor([0.0, -3.0]), "relu")
        tensor([[1., 0.]])
    """
    find("activation", activation, ACTIVATIONS)
    x, weight, bias = under_autocast(x, weight, bias)
    check_dense(x, weight, bias)
    # Dynamo refuses a Function that defines jvp, and traces none through forward-mode AD.
    function = _DenseFunction if torch.compiler.is_compiling() else DenseFunction
    apply: Any = function.apply
    outputs = apply(x, weight, bias, activation, average)
    a: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    return a


class _DenseFunction(Function):
    """a = φ(z), z = x Wᵀ + b, and its reverse mode.

    Returns `a`, followed by z where φ' is a function of z: what backward saves has to be an input
    or an output, or second derivatives are silently wrong.
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
        reads = ACTIVATIONS[activation].reads
        saved = (x, weight, output[1] if reads == "z" else output if reads == "a" else None)
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)  # vmap's generated rule wants the identical tuple
        ctx.set_materialize_grads(value=False)
        ctx.activation, ctx.average = activation, average

    @staticmethod
    def backward(ctx: Any, *grad_output: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, read = ctx.saved_tensors
        grad_a, grad_z = (*grad_output, None)[:2]
        delta = grad_z
        if grad_a is not None:
            delta = pull_back(grad_a, read, read, ctx.activation)
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


class DenseFunction(_DenseFunction):
    """`_DenseFunction` with its forward mode: da = φ'(z) ⊙ (dx Wᵀ + x dWᵀ + db)."""

    @staticmethod
    def jvp(
        ctx: Any, dx: Tensor | None, dweight: Tensor | None, dbias: Tensor | None, *_: None
    ) -> Any:
        x, weight, read = ctx.saved_tensors
        terms = []
        if dx is not None:
            terms.append(dx @ weight.t())
        if dweight is not None:
            terms.append(x @ dweight.t())
        if dbias is not None:
            terms.append(dbias.expand(*x.shape[:-1], weight.shape[0]).clone())  # no view of dbias
        dz = sum(terms[1:], start=terms[0])
        da = pull_back(dz, read, read, ctx.activation)
        return (da, dz) if ACTIVATIONS[ctx.activation].reads == "z" else da


def autocast_is_on(device: str) -> bool:
    """Whether autocast is on for this type of device; never for one that has none, as "meta"."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def under_autocast(*tensors: Tensor | None) -> tuple[Any, ...]:
    """The tensors as autocast would hand them to torch.nn.functional.linear.

    Outside the Function, so that the casts' own derivatives are autograd's. float64 is left alone,
    as autocast leaves it.
    """
    device = next(tensor.device.type for tensor in tensors if tensor is not None)
    if not autocast_is_on(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(
        tensor.to(dtype)
        if tensor is not None and tensor.is_floating_point() and tensor.dtype != torch.float64
        else tensor
        for tensor in tensors
    )


def check_dense(x: Tensor, weight: Tensor, bias: Tensor | None, layer: str = "dense") -> None:
    """Compare the arguments of a dense layer with each other before anything is computed.

    Raises:
        ValueError: shapes or devices that do not fit; both are named.
        TypeError: dtypes that differ or are not floating point.
    """
    if weight.ndim != 2:  # noqa: PLR2004  a matrix
        raise ValueError(
            f"{layer}: expected a weight of shape (out_features, in_features), got shape "
            f"{tuple(weight.shape)}"
        )
    fan_out, fan_in = weight.shape
    if not x.is_floating_point():
        raise TypeError(
            f"{layer}: expected a floating-point input, got {x.dtype} of shape {tuple(x.shape)}; "
            f"convert it with x.float()"
        )
    if x.ndim == 0 or x.shape[-1] != fan_in:
        images = x.ndim > 1 and x.shape[1:].numel() == fan_in
        raise ValueError(
            f"{layer}: expected last dimension in_features={fan_in} for a weight of shape "
            f"{tuple(weight.shape)}, got input of shape {tuple(x.shape)}"
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
        if other.dtype != x.dtype:
            raise TypeError(
                f"{layer}: expected one dtype, got input {x.dtype} and {name} {other.dtype}; "
                f"convert one of them with .to(dtype)"
            )
        if other.device != x.device:
            raise ValueError(
                f"{layer}: expected one device, got input on {x.device} and {name} on "
                f"{other.device}; move one of them with .to(device)"
            )
