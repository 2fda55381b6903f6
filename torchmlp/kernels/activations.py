"""The activations a = φ(z), each beside its derivative's product with what arrives, grad_a ⊙ φ'(z).

The product rather than φ' alone, so that a unit φ switches off answers 0 whatever arrives, infinity
and NaN included, as torch.nn's activations do; a multiplied mask would answer NaN.

The pullbacks are differentiated again for second derivatives, so each stays finite where its value
does: an exponential is clamped *before* it is taken, never selected away afterwards (the unselected
branch would contribute 0 · ∞ = NaN).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from torchmlp.kernels.names import find

LEAKY_SLOPE = 0.01  # torch.nn.LeakyReLU's default
SOFTPLUS_THRESHOLD = 20.0  # torch.nn.Softplus's default: above it the function is z itself
MISH_LINEAR = 30.0  # φ(z) = z to the last bit of float64, and e^2z still fits float32
SELU_ALPHA = 1.6732632423543772  # Klambauer et al. (2017), equation 14
SELU_SCALE = 1.0507009873554805
GELU_TANH_CUBIC = 0.044715  # Hendrycks & Gimpel (2016), section 2
INV_SQRT_2 = math.sqrt(0.5)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


@dataclass(frozen=True)
class Activation:
    """One activation function and its derivative.

    Attributes:
        value: z -> φ(z), elementwise.
        pullback: (grad_a, s) -> grad_a ⊙ φ'(z), where s is what `reads` names.
        reads: what the derivative is a function of. "a" lets the layer keep nothing but its output,
            "nothing" not even that.
    """

    value: Callable[[Tensor], Tensor]
    pullback: Callable[[Tensor, Tensor], Tensor]
    reads: Literal["z", "a", "nothing"]


def activate(z: Float[Tensor, "*shape"], activation: str) -> Float[Tensor, "*shape"]:
    """The activation a = φ(z), elementwise; 16-bit input is computed in float32 and rounded once.

    Raises:
        ValueError: no activation has this name.

    Example:
        >>> activate(torch.tensor([-1.0, 2.0]), "relu")
        tensor([0., 2.])
    """
    return find("activation", activation, ACTIVATIONS).value(z)


def pull_back(
    grad_a: Float[Tensor, "*shape"],
    z: Float[Tensor, "*shape"] | None,
    a: Float[Tensor, "*shape"] | None,
    activation: str,
) -> Float[Tensor, "*shape"]:
    """The delta of a layer from the gradient of its output: grad_a ⊙ φ'(z).

    Only the one of `z` and `a` that the activation `reads` is looked at; the other may be None, and
    both may where it reads nothing. At a kink (ReLU at 0) the derivative is torch.nn's choice.

    Raises:
        ValueError: no activation has this name.

    Source: Nielsen (2015), chapter 2, BP2. Checked in tests/kernels/test_activations.py.
    """
    phi = find("activation", activation, ACTIVATIONS)
    read: Any = z if phi.reads == "z" else a
    return phi.pullback(grad_a, read)


def _in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute 16-bit tensors in float32 and round once: a chain of roundings loses digits."""

    def computed(*tensors: Tensor) -> Tensor:
        dtype = tensors[0].dtype
        if dtype not in (torch.float16, torch.bfloat16):
            return function(*tensors)
        return function(*(t.float() for t in tensors)).to(dtype)

    return computed


def _identity(z: Tensor) -> Tensor:
    return z


def _identity_pullback(grad: Tensor, _: Tensor | None) -> Tensor:
    return grad


def _relu_pullback(grad: Tensor, a: Tensor) -> Tensor:
    return grad.masked_fill(a <= 0, 0.0)


def _leaky_relu(z: Tensor) -> Tensor:
    return torch.where(z > 0, z, LEAKY_SLOPE * z)


def _leaky_relu_pullback(grad: Tensor, a: Tensor) -> Tensor:
    return torch.where(a > 0, grad, LEAKY_SLOPE * grad)


def _elu(z: Tensor) -> Tensor:
    return torch.where(z <= 0, torch.expm1(z.clamp(max=0)), z)


def _elu_pullback(grad: Tensor, z: Tensor) -> Tensor:
    return torch.where(z <= 0, grad * torch.exp(z.clamp(max=0)), grad)


def _selu(z: Tensor) -> Tensor:
    return SELU_SCALE * torch.where(z <= 0, SELU_ALPHA * torch.expm1(z.clamp(max=0)), z)


def _selu_pullback(grad: Tensor, z: Tensor) -> Tensor:
    negative = grad * (SELU_SCALE * SELU_ALPHA) * torch.exp(z.clamp(max=0))
    return torch.where(z <= 0, negative, grad * SELU_SCALE)


def _sigmoid_pullback(grad: Tensor, a: Tensor) -> Tensor:
    return grad * (1 - a) * a


def _tanh_pullback(grad: Tensor, a: Tensor) -> Tensor:
    return grad * (1 - a) * (1 + a)  # 1 − a² would cancel near saturation


def _softplus(z: Tensor) -> Tensor:
    below = torch.log1p(torch.exp(z.clamp(max=SOFTPLUS_THRESHOLD)))
    return torch.where(z > SOFTPLUS_THRESHOLD, z, below)


def _softplus_pullback(grad: Tensor, z: Tensor) -> Tensor:
    return torch.where(z > SOFTPLUS_THRESHOLD, grad, grad * torch.sigmoid(z))


def _silu(z: Tensor) -> Tensor:
    return z * torch.sigmoid(z)


def _silu_pullback(grad: Tensor, z: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return grad * s * (1 + z * (1 - s))


def _gelu(z: Tensor) -> Tensor:
    return 0.5 * z * torch.erfc(z * -INV_SQRT_2)  # 1 + erf would cancel in the left tail


def _gelu_pullback(grad: Tensor, z: Tensor) -> Tensor:
    cdf = 0.5 * torch.erfc(z * -INV_SQRT_2)
    pdf = INV_SQRT_2PI * torch.exp(-0.5 * z * z)
    return grad * (cdf + z * pdf)


def _gelu_tanh(z: Tensor) -> Tensor:
    return 0.5 * z * (1 + torch.tanh(SQRT_2_OVER_PI * (z + GELU_TANH_CUBIC * z * z * z)))


def _gelu_tanh_pullback(grad: Tensor, z: Tensor) -> Tensor:
    t = torch.tanh(SQRT_2_OVER_PI * (z + GELU_TANH_CUBIC * z * z * z))
    slope = SQRT_2_OVER_PI * (1 + 3 * GELU_TANH_CUBIC * z * z)
    return grad * (0.5 * (1 + t) + 0.5 * z * (1 - t * t) * slope)


def _mish_ratio(z: Tensor) -> Tensor:
    # tanh(log(1 + e^z)) = n / (n + 2) with n = e^z (e^z + 2): no logarithm, no cancellation.
    e = torch.exp(z.clamp(max=MISH_LINEAR))
    return e * (e + 2)


def _mish(z: Tensor) -> Tensor:
    n = _mish_ratio(z)
    return z * (n / (n + 2))


def _mish_pullback(grad: Tensor, z: Tensor) -> Tensor:
    # φ' = t + z σ(z) (1 − t²), where 1 − t² = 4 (n + 1) / (n + 2)²
    z = z.clamp(max=MISH_LINEAR)  # beyond, z times what is left of 1 − t² would grow
    n = _mish_ratio(z)
    return grad * (n / (n + 2) + z * torch.sigmoid(z) * 4 * (n + 1) / (n + 2) / (n + 2))


def _hardtanh(z: Tensor) -> Tensor:
    return z.clamp(-1.0, 1.0)


def _hardtanh_pullback(grad: Tensor, a: Tensor) -> Tensor:
    return grad.masked_fill((a <= -1) | (a >= 1), 0.0)


def _relu6(z: Tensor) -> Tensor:
    return z.clamp(0.0, 6.0)


def _relu6_pullback(grad: Tensor, a: Tensor) -> Tensor:
    return grad.masked_fill((a <= 0) | (a >= 6), 0.0)  # noqa: PLR2004  the name's own six


def _hardswish(z: Tensor) -> Tensor:
    return z * (z + 3).clamp(0.0, 6.0) / 6


def _hardswish_pullback(grad: Tensor, z: Tensor) -> Tensor:
    upper = torch.where(z < 3, grad * (z / 3 + 0.5), grad)  # noqa: PLR2004  Howard et al. (2019)
    return upper.masked_fill(z <= -3, 0.0)  # noqa: PLR2004


def _softsign(z: Tensor) -> Tensor:
    return z / (1 + z.abs())


def _softsign_pullback(grad: Tensor, z: Tensor) -> Tensor:
    return grad / (1 + z.abs()) / (1 + z.abs())


def _logsigmoid(z: Tensor) -> Tensor:
    return z.clamp(max=0) - torch.log1p(torch.exp(-z.abs()))


def _logsigmoid_pullback(grad: Tensor, z: Tensor) -> Tensor:
    return grad * torch.sigmoid(-z)


def _smooth(
    value: Callable[..., Tensor], pullback: Callable[..., Tensor], reads: Literal["z", "a"]
) -> Activation:
    return Activation(_in_float32(value), _in_float32(pullback), reads)


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(_identity, _identity_pullback, reads="nothing"),
    "relu": Activation(torch.relu, _relu_pullback, reads="a"),
    "leaky_relu": _smooth(_leaky_relu, _leaky_relu_pullback, reads="a"),
    "elu": _smooth(_elu, _elu_pullback, reads="z"),
    "selu": _smooth(_selu, _selu_pullback, reads="z"),
    "sigmoid": _smooth(torch.sigmoid, _sigmoid_pullback, reads="a"),
    "tanh": _smooth(torch.tanh, _tanh_pullback, reads="a"),
    "softplus": _smooth(_softplus, _softplus_pullback, reads="z"),
    "silu": _smooth(_silu, _silu_pullback, reads="z"),
    "gelu": _smooth(_gelu, _gelu_pullback, reads="z"),
    "gelu_tanh": _smooth(_gelu_tanh, _gelu_tanh_pullback, reads="z"),
    "mish": _smooth(_mish, _mish_pullback, reads="z"),
    "hardtanh": Activation(_hardtanh, _hardtanh_pullback, reads="a"),
    "relu6": Activation(_relu6, _relu6_pullback, reads="a"),
    "hardswish": _smooth(_hardswish, _hardswish_pullback, reads="z"),
    "softsign": _smooth(_softsign, _softsign_pullback, reads="z"),
    "logsigmoid": _smooth(_logsigmoid, _logsigmoid_pullback, reads="z"),
}
