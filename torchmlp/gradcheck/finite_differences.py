"""Directional derivatives of a loss by central differences, kinks stepped over.

    D_v = (E(θ + s v) − E(θ − s v)) / 2s        compared with ⟨∂E/∂θ, v⟩

Two forward passes measure one direction. A direction of random signs sees an error e of any shape
with |⟨e, v⟩| = ‖e‖ on average, and an error of one element exactly; the gradient's own direction
sees a wrong factor.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

EPS = torch.finfo(torch.float64).eps
ROUNDING = 4.0  # of E, in units of eps·|E|: what a forward pass of a few hundred sums leaves
SIGNS = 4  # random directions for each tensor
LADDER = (1.0, 0.1, 0.01, 10.0, 100.0)  # steps tried, in units of the first


@dataclass(frozen=True)
class Measurement:
    """A gradient compared with the slopes of its loss.

    Attributes:
        error: ‖given − true‖ / max(‖given‖, ‖true‖), estimated; 0 where both are zero.
        is_right: whether the error is within the tolerance and the measurement's own noise.
        passes: forward passes taken.
        kinks: directions in which the loss has a kink at θ itself, so that any slope between the
            two sides' is right.
        size: max(‖given‖, ‖true‖), estimated.
    """

    error: float
    is_right: bool
    passes: int
    kinks: int
    size: float


def measure(
    loss: Callable[[], float],
    move: Callable[[Tensor], Tensor],
    gradient: Tensor,
    at: float,
    tolerance: float,
    generator: torch.Generator,
) -> Measurement:
    """Compare one tensor's gradient with central differences.

    Args:
        loss: E at the present parameters.
        move: displaces the tensor from θ by what it is given; returns the displacement as float64
            holds it.
        gradient: the ∂E/∂θ under test; float64, finite.
        at: E at θ.
        tolerance: relative error that passes for right.
        generator: draws the directions.

    The step is as small as the noise allows, 4 eps |E| / s being a hundredth of what the tolerance
    lets pass: the fewer kinks lie within it. Where the two disagree, other steps are tried: an
    error of the gradient stays, a rounding or a kink does not.
    """
    size = gradient.norm().item()
    noise = ROUNDING * EPS * max(abs(at), EPS)
    first = noise * 100 / (tolerance * size) if size else 1e-6
    first = min(max(first, 1e-9), 1e-3)
    passes = kinks = 0
    slopes: list[float] = []
    gaps: list[float] = []
    own_gap = 0.0
    floor = 0.0
    for direction, is_own in _directions(gradient, generator):
        best: tuple[float, float, float] | None = None
        sides: list[tuple[float, float, float]] = []
        for rung in LADDER:
            step = first * rung
            up = move(direction * step)
            above = loss()
            down = move(direction * -step)
            below = loss()
            passes += 2
            said = (gradient * (up - down)).sum().item() / (2 * step)
            slope = (above - below) / (2 * step)
            gap, doubt = abs(slope - said), noise / step
            if best is None or gap < best[0]:
                best = gap, slope, doubt
            sides.append(((above - at) / step, (at - below) / step, said))
            if gap <= tolerance * max(size, abs(slope)) or gap <= doubt:
                break
        assert best is not None
        gap, slope, doubt = best
        if len(sides) == len(LADDER) and _at_a_kink(sides, doubt):
            kinks += 1
            continue
        floor = max(floor, doubt)
        slopes.append(slope)
        if is_own:
            own_gap = gap
        else:
            gaps.append(gap)
    move(torch.zeros_like(gradient))
    wrong = max(own_gap, _rms(gaps))
    scale = max(size, _rms(slopes))
    error = wrong / scale if scale > floor else 0.0
    return Measurement(error, wrong <= tolerance * scale + floor, passes, kinks, scale)


def _directions(gradient: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, bool]]:
    """The gradient's own direction, of length one, and random signs; few elements one by one."""
    norm = gradient.norm()
    if norm > 0:
        yield gradient / norm, True
    count = gradient.numel()
    if count <= 2 * SIGNS:
        for axis in torch.eye(count, dtype=gradient.dtype, device=gradient.device):
            yield count**0.5 * axis.reshape(gradient.shape), False
        return
    for _ in range(SIGNS):
        signs = torch.randint(0, 2, gradient.shape, generator=generator, dtype=torch.int64)
        yield (2.0 * signs - 1.0).to(gradient), False


def _at_a_kink(sides: list[tuple[float, float, float]], doubt: float) -> bool:
    """Whether the slopes of both sides differ at the smallest step too, and not by less."""
    right, left, said = sides[LADDER.index(min(LADDER))]
    gap, larger = abs(right - left), abs(sides[0][0] - sides[0][1])
    persists = gap > 0.5 * larger and gap > 100 * doubt  # curvature's gap shrinks with the step
    # Units on a kink may pull either way: the slope with all of them off may lie beside both.
    return persists and min(left, right) - gap <= said <= max(left, right) + gap


def _rms(values: list[float]) -> float:
    return (sum(v * v for v in values) / len(values)) ** 0.5 if values else 0.0
