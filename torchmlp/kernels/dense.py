"""The dense layer a = φ(x Wᵀ + b) and its three gradients, one function for each equation."""

import math

import torch
from jaxtyping import Inexact
from torch import Tensor

from torchmlp._compat.torch_internals import unsafe_view
from torchmlp.kernels.activations import activate


def dense_forward(
    x: Inexact[Tensor, "*batch fan_in"],
    weight: Inexact[Tensor, "fan_out fan_in"],
    bias: Inexact[Tensor, " fan_out"] | None,
    activation: str,
) -> tuple[Inexact[Tensor, "*batch fan_out"], Inexact[Tensor, "*batch fan_out"]]:
    """Output of a dense layer, and the pre-activation its derivative may need.

        z = x Wᵀ + b        a = φ(z)

    Returns:
        a, z. For the identity they are one tensor.

    Cost: 2·N·I·O floating-point operations.
    Source: Nielsen (2015), chapter 2, equation 25. Checked in tests/kernels/test_dense.py.

    Example:
        >>> a, z = dense_forward(torch.ones(2), -torch.eye(2), None, "relu")
        >>> z.tolist(), a.tolist()
        ([-1.0, -1.0], [0.0, 0.0])
    """
    x_NI = flat(x)
    z_NO = x_NI @ weight.t() if bias is None else torch.addmm(bias, x_NI, weight.t())
    # No view of z_NO: the caller may write into the output, as into torch.nn.functional.linear's.
    z = z_NO if z_NO.ndim == x.ndim else unsafe_view(z_NO, (*x.shape[:-1], weight.shape[0]))
    return activate(z, activation), z


def dense_grad_x(
    delta: Inexact[Tensor, "*batch fan_out"], weight: Inexact[Tensor, "fan_out fan_in"]
) -> Inexact[Tensor, "*batch fan_in"]:
    """Gradient of the loss with respect to the layer's input.

        ∂E/∂x = delta W        (its complex conjugate where W is complex, as autograd has it)

    Cost: 2·N·I·O floating-point operations.
    Source: Nielsen (2015), chapter 2, BP2. Checked in tests/kernels/test_dense.py.
    """
    delta_NO = flat(delta)
    grad_NI = delta_NO @ weight.conj()
    return (
        grad_NI
        if delta_NO.ndim == delta.ndim
        else grad_NI.reshape(*delta.shape[:-1], weight.shape[1])
    )


def dense_grad_weight(
    delta: Inexact[Tensor, "*batch fan_out"],
    x: Inexact[Tensor, "*batch fan_in"],
    scale: float = 1.0,
) -> Inexact[Tensor, "fan_out fan_in"]:
    """Gradient of the loss with respect to the weight.

        ∂E/∂W = scale · deltaᵀ x, summed over every batch axis

    Args:
        delta: ∂E/∂z of this layer. Same floating dtype as `x`.
        x: the input that `dense_forward` was given, unchanged since.
        scale: 1 for a sum, 1/N for an average. It is the alpha of the matrix product: the average
            costs nothing, and in 16 bits it is taken before the result is rounded.

    Returns:
        ∂E/∂W. Zero rows give zeros.

    Cost: 2·N·I·O floating-point operations.
    Source: Nielsen (2015), chapter 2, BP4. Checked in tests/kernels/test_dense.py.
    """
    delta_ON = flat(delta).t()
    x_NI = flat(x).conj()
    if scale == 1.0:
        return delta_ON @ x_NI
    return torch.addmm(x.new_zeros(()), delta_ON, x_NI, beta=0, alpha=scale)


def dense_grad_bias(
    delta: Inexact[Tensor, "*batch fan_out"], scale: float = 1.0
) -> Inexact[Tensor, " fan_out"]:
    """Gradient of the loss with respect to the bias.

        ∂E/∂b = scale · Σ delta, over every batch axis

    16-bit deltas are summed and scaled in float32 and rounded once, so a long batch cannot overflow
    before it is averaged. Zero rows give zeros.

    Source: Nielsen (2015), chapter 2, BP3. Checked in tests/kernels/test_dense.py.
    """
    delta_NO = flat(delta)
    if scale == 1.0:
        return delta_NO.sum(0)
    half = delta.dtype in (torch.float16, torch.bfloat16)
    total = delta_NO.sum(0, dtype=torch.float32 if half else delta.dtype)
    return (scale * total).to(delta.dtype)


def averaging_scale(rows: int) -> float:
    """The 1/N that turns a sum over rows into a mean; 1 for zero rows, whose sum is 0 anyway."""
    return 1.0 / max(rows, 1)


def flat(x: Inexact[Tensor, "*batch features"]) -> Inexact[Tensor, "rows features"]:
    """All batch axes as one; -1 would leave the number of rows open where there are no features."""
    is_flat = x.ndim == 2  # noqa: PLR2004
    return x if is_flat else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
