"""The activations a = φ(z), each beside its derivative's product with what arrives, grad_a ⊙ φ'(z).

The product rather than φ' alone, so that a unit φ switches off answers 0 whatever arrives, infinity
and NaN included, as torch.nn's activations do; a multiplied mask would answer NaN.

The pullbacks are differentiated again for second derivatives, so each stays finite where its value
does: an exponential is clamped *before* it is taken, never selected away afterwards (the unselected
branch would contribute 0 · ∞ = NaN). Each selects so that z = NaN gives NaN as torch.nn does.

Numbers stand in the functions: torch.compile(dynamic=True) takes a module's float for a variable,
and cannot hand one to a backward pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Inexact
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  torch's own spelling

from torchmlp.kernels.names import find


@dataclass(frozen=True)
class Activation:
    """One activation function and its derivative.

    Attributes:
        value: z -> φ(z), elementwise.
        pullback: (grad_a, s) -> grad_a ⊙ φ'(z), where s is what `reads` names.
        reads: what the derivative is a function of. "a" lets the layer keep nothing but its output,
            "nothing" not even that.
        holomorphic: whether the function takes complex numbers.
    """

    value: Callable[[Tensor], Tensor]
    pullback: Callable[[Tensor, Tensor], Tensor]
    reads: Literal["z", "a", "nothing"]
    holomorphic: bool = False


def activate(z: Inexact[Tensor, "*shape"], activation: str) -> Inexact[Tensor, "*shape"]:
    """The activation a = φ(z), elementwise, by torch's own function.

    Raises:
        ValueError: no activation has this name.

    Example:
        >>> activate(torch.tensor([-1.0, 2.0]), "relu")
        tensor([0., 2.])
    """
    return find("activation", activation, ACTIVATIONS).value(z)


def pull_back(
    grad_a: Inexact[Tensor, "*shape"],
    z: Inexact[Tensor, "*shape"] | None,
    a: Inexact[Tensor, "*shape"] | None,
    activation: str,
) -> Inexact[Tensor, "*shape"]:
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


def _gelu_tanh(z: Tensor) -> Tensor:
    return F.gelu(z, approximate="tanh")


def _identity_pullback(grad: Tensor, _: Tensor | None) -> Tensor:
    return grad


def _relu_pullback(grad: Tensor, a: Tensor) -> Tensor:
    return grad.masked_fill(a <= 0, 0.0)


def _leaky_relu_pullback(grad: Tensor, z: Tensor) -> Tensor:
    return torch.where(z > 0, grad, 0.01 * grad)  # torch.nn.LeakyReLU's default slope


def _elu_pullback(grad: Tensor, z: Tensor) -> Tensor:
    return torch.where(z > 0, grad, grad * torch.exp(z.clamp(max=0)))


def _selu_pullback(grad: Tensor, z: Tensor) -> Tensor:
    alpha, scale = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. (2017), equation 14
    negative = grad * (scale * alpha) * torch.exp(z.clamp(max=0))
    return torch.where(z > 0, grad * scale, negative)


def _sigmoid_pullback(grad: Tensor, a: Tensor) -> Tensor:
    slope = a.conj()
    return grad * (1 - slope) * slope


def _tanh_pullback(grad: Tensor, a: Tensor) -> Tensor:
    slope = a.conj()
    return grad * (1 - slope * slope)


def _softplus_pullback(grad: Tensor, z: Tensor) -> Tensor:
    linear = 20.0  # torch.nn.Softplus's default threshold: above it the function is z itself
    e = torch.exp(z.clamp(max=linear))
    return torch.where(z > linear, grad, grad * e / (e + 1))


def _silu_pullback(grad: Tensor, z: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return grad * s * (1 + z * (1 - s))


def _gelu_pullback(grad: Tensor, z: Tensor) -> Tensor:
    cdf = 0.5 * torch.erfc(z * -(0.5**0.5))  # 1 + erf would cancel in the left tail
    pdf = 0.3989422804014327 * torch.exp(-0.5 * z * z)  # 1 / √2π
    return grad * (cdf + z * pdf)


def _gelu_tanh_pullback(grad: Tensor, z: Tensor) -> Tensor:
    cubic = 0.044715  # Hendrycks & Gimpel (2016), section 2
    root = 0.7978845608028654  # √(2/π)
    t = torch.tanh(root * (z + cubic * z * z * z))
    slope = root * (1 + 3 * cubic * z * z)
    return grad * (0.5 * (1 + t) + 0.5 * z * (1 - t * t) * slope)


def _mish_pullback(grad: Tensor, z: Tensor) -> Tensor:
    # φ' = t + z σ(z) (1 − t²) with t = tanh(log(1 + e^z)) = n / (n + 2), n = e^z (e^z + 2)
    # From 30 on t = 1 to the last bit of float64, and n still fits float32.
    e = torch.exp(z.clamp(max=30.0))
    n = e * (e + 2)
    t = n / (n + 2)
    rest = torch.where(z > 30.0, 0.0, 2 * (1 + t) / (n + 2))  # noqa: PLR2004  1 − t²
    return grad * (t + z * torch.sigmoid(z) * rest)


def _hardtanh_pullback(grad: Tensor, z: Tensor) -> Tensor:
    return grad.masked_fill((z <= -1) | (z >= 1), 0.0)


def _relu6_pullback(grad: Tensor, z: Tensor) -> Tensor:
    return grad.masked_fill((z <= 0) | (z >= 6), 0.0)  # noqa: PLR2004  the name's own six


def _hardswish_pullback(grad: Tensor, z: Tensor) -> Tensor:
    upper = torch.where(z >= 3, grad, grad * (z / 3 + 0.5))  # noqa: PLR2004  Howard et al. (2019)
    return upper.masked_fill(z <= -3, 0.0)  # noqa: PLR2004


def _softsign_pullback(grad: Tensor, z: Tensor) -> Tensor:
    # The quotient rule as it stands: grad / (1 + |z|)² would answer an infinite grad with ∞, where
    # torch answers nan.
    d = 1 + z.abs()
    return grad / d - grad * (z.abs() / d) / d


def _logsigmoid_pullback(grad: Tensor, z: Tensor) -> Tensor:
    e = torch.exp(
        -torch.where(z < 0, -z, z)
    )  # |z| has no slope at 0, where the second derivative is
    ratio = e / (1 + e)
    return grad * torch.where(z < 0, 1 - ratio, ratio)


def _smooth(value: Callable[..., Tensor], pullback: Callable[..., Tensor]) -> Activation:
    return Activation(value, _in_float32(pullback), reads="z")


# The values are torch's own functions: one pass over memory, and to_sequential() changes no bit.
# What torch keeps of a layer (z or a) is kept here: writing into an output is refused where, and
# only where, nn.Linear and an activation refuse it.
ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(_identity, _identity_pullback, "nothing", holomorphic=True),
    "relu": Activation(F.relu, _relu_pullback, reads="a"),
    "leaky_relu": _smooth(F.leaky_relu, _leaky_relu_pullback),
    "elu": _smooth(F.elu, _elu_pullback),
    "selu": _smooth(F.selu, _selu_pullback),
    "sigmoid": Activation(torch.sigmoid, _in_float32(_sigmoid_pullback), "a", holomorphic=True),
    "tanh": Activation(torch.tanh, _in_float32(_tanh_pullback), "a", holomorphic=True),
    "softplus": _smooth(F.softplus, _softplus_pullback),
    "silu": _smooth(F.silu, _silu_pullback),
    "gelu": _smooth(F.gelu, _gelu_pullback),
    "gelu_tanh": _smooth(_gelu_tanh, _gelu_tanh_pullback),
    "mish": _smooth(F.mish, _mish_pullback),
    "hardtanh": Activation(F.hardtanh, _hardtanh_pullback, reads="z"),
    "relu6": Activation(F.relu6, _relu6_pullback, reads="z"),
    "hardswish": _smooth(F.hardswish, _hardswish_pullback),
    "softsign": _smooth(F.softsign, _softsign_pullback),
    "logsigmoid": _smooth(F.logsigmoid, _logsigmoid_pullback),
}
