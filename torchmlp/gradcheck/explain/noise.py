"""How far apart two right programs may lie: roundings, followed through a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torchmlp.kernels.activations import activate, pull_back
from torchmlp.kernels.network import Layer, Pass

ROUNDINGS = 8.0  # how far apart two right programs may lie, in units of what one sample measures
STEP = 2.0**-23  # roundings of this size are followed, and scaled to the dtype's


@dataclass(frozen=True)
class Noise:
    """How far a layer's right gradients may lie from those computed here.

    Attributes:
        relative: in units of ‖δ‖·‖x‖ for the weight's and ‖δ‖ for the bias's: of sums and products,
            and of samples near a kink.
        floor: in units of ‖x‖ and 1, whatever δ is: what is left of p − t and 1 − a² where they
            cancel, and where numbers underflow.
    """

    relative: float
    floor: float

    def of(self, delta: Tensor) -> float:
        """How far a delta may lie from `delta`, in the 2-norm of all its elements."""
        return self.relative * float(torch.linalg.vector_norm(delta)) + self.floor


def slope(activation: str, z: Tensor) -> Tensor:
    """φ'(z), elementwise."""
    return pull_back(torch.ones_like(z), z, activate(z, activation), activation)


def measure_noise(
    layers: Sequence[Layer],
    passed: Pass,
    deltas: Sequence[Tensor],
    error: Callable[[Tensor], Tensor],
    error_size: Tensor,
    dtype: torch.dtype,
) -> list[Noise]:
    """The noise of every layer, for programs that compute in `dtype`.

    Every number of the forward and the backward pass is moved by a rounding of random sign, and the
    differences are followed down. A sample whose z lies within rounding of a kink counts with its
    whole delta.

    Args:
        layers: the network, in float64, as is all that follows.
        passed: its forward pass.
        deltas: its right deltas.
        error: a_L to e'(a_L, t).
        error_size: the size of the numbers whose difference e' is, (B, K).
        dtype: the coarsest that takes part.
    """
    eps = torch.finfo(dtype).eps
    scale = ROUNDINGS * eps / STEP
    least = torch.finfo(dtype).tiny * eps / scale  # below it numbers become zero
    signs = torch.Generator().manual_seed(0)

    def rounded(size: Tensor) -> Tensor:
        drawn = torch.randint(0, 2, size.shape, generator=signs, dtype=torch.int8)
        return (STEP * size).where(drawn == 0, -STEP * size)

    moved = [torch.zeros_like(passed.a[0])]  # what the roundings before it do to each a
    bends: list[Tensor] = []  # and to each φ'
    slopes: list[Tensor] = []
    on_kinks: list[Tensor] = []
    gaps: list[Tensor] = []
    for (weight, bias, activation), x, z, a in zip(
        layers, passed.a, passed.z, passed.a[1:], strict=False
    ):
        size = x.abs() @ weight.abs().t()
        size = size if bias is None else size + bias.abs()
        dz = moved[-1] @ weight.t() + rounded(size)
        kinky, crossed = _near_kinks(z, activation, eps * size + scale * dz.abs(), dz.abs())
        on_kinks.append(kinky)
        at = torch.where(crossed, z, z + dz)
        slopes.append(slope(activation, z))
        bends.append(slope(activation, at) - slopes[-1])
        gaps.append(2 * _softplus_gap(activation, z) / (ROUNDINGS * eps))
        moved.append(activate(at, activation) - a + rounded(a.abs() + gaps[-1]))

    e = error(passed.a[-1])
    raw, relative = e, torch.zeros_like(e)
    floor = error(passed.a[-1] + moved[-1]) - e + rounded(error_size)
    noise: list[Noise] = []
    worst = 4 * eps
    for k in reversed(range(len(layers))):
        if k < len(layers) - 1:
            weight, delta = layers[k + 1].weight, deltas[k + 1]
            raw = delta @ weight
            relative = relative @ weight + rounded(delta.abs() @ weight.abs())
            floor = floor @ weight
        relative = relative * slopes[k] + raw * bends[k] + rounded(deltas[k])
        own = _slope_size(layers[k].activation, passed.z[k], passed.a[k + 1])
        own = rounded(own + gaps[k])
        floor = floor * slopes[k] + raw * own + least
        whole, kinks = _norm(deltas[k]), _norm(raw[on_kinks[k]])
        measured = _ratio(_norm(relative), whole) + _ratio(_norm(moved[k]), _norm(passed.a[k]))
        worst = max(worst, scale * measured) + _ratio(kinks, whole)
        noise.insert(0, Noise(worst, scale * _norm(floor) + (0.0 if whole else kinks)))
    return noise


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


_EXACT = {"identity", "relu", "leaky_relu", "relu6", "hardtanh"}
_TIMES_Z = {"silu", "gelu", "gelu_tanh", "mish"}


def _slope_size(activation: str, z: Tensor, a: Tensor) -> Tensor:
    """The size of the numbers of whose sum or difference φ' is what is left, as 1 and a² are."""
    if activation in _EXACT:
        return torch.zeros_like(z)
    if activation == "sigmoid":
        return a
    # z (1 − σ(z)) and its like: from 20 on the difference is zero in every program.
    return 1 + z.abs().clamp(max=20) if activation in _TIMES_Z else torch.ones_like(z)


def _softplus_gap(activation: str, z: Tensor) -> Tensor:
    """By how much torch's softplus, z itself above 20, lies beside log(1 + exp(z))."""
    if activation != "softplus":
        return torch.zeros_like(z)
    return torch.exp(-z).where(z > 20, 0.0)  # noqa: PLR2004  its threshold


_KINKS = {
    "relu": (0.0,),
    "leaky_relu": (0.0,),
    "relu6": (0.0, 6.0),
    "hardtanh": (-1.0, 1.0),
    "hardswish": (-3.0, 3.0),
    "selu": (0.0,),
}


def _near_kinks(z: Tensor, activation: str, reach: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """Where a rounding decides on which side of a kink z lies; and where `moved` crosses one.

    z that is exactly on a kink is neither: there either slope is right.
    """
    near, crossed = torch.zeros_like(z, dtype=torch.bool), torch.zeros_like(z, dtype=torch.bool)
    for kink in _KINKS.get(activation, ()):
        distance = (z - kink).abs()
        near |= (distance <= reach) & (distance > 0)
        crossed |= distance <= moved
    return near, crossed
