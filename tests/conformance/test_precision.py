"""Accuracy against float64, and what becomes of infinities and nans."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conformance.layers import Layer, dense, every_activation, inputs, linear_then
from tests.problems import dtype_id

dtypes = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16], ids=dtype_id
)

# Denormal, small, of order one, saturating, large.
SCALES = {
    torch.float32: (1e-40, 1e-6, 1e-2, 1.0, 10.0, 100.0, 1e4),
    torch.float16: (1e-7, 1e-4, 1e-2, 1.0, 10.0, 100.0, 1e4),
    torch.bfloat16: (1e-39, 1e-6, 1e-2, 1.0, 10.0, 100.0, 1e4),
}


def elementwise(
    layer: Layer, z: Tensor, activation: str, arriving: Tensor
) -> tuple[Tensor, Tensor]:
    """φ(z) and grad ⊙ φ'(z) through a layer whose product is exact: one input, weight one."""
    x = z.detach()[:, None].requires_grad_()
    output = layer(x, torch.ones(1, 1, dtype=z.dtype), None, activation)
    (grad,) = torch.autograd.grad(output, x, arriving[:, None])
    return output.detach()[:, 0], grad[:, 0]


def worst(actual: Tensor, exact: Tensor, *, relative: bool) -> float:
    """The largest error, relative to the values nearby or to the largest value.

    To the values nearby and not to each value itself: at a derivative's zero the answer is noise.
    """
    error, size = (actual.double() - exact).abs(), exact.abs()
    if relative:
        size = nn.functional.max_pool1d(size[None], 65, stride=1, padding=32)[0]
    else:
        size = size.max()
    return float((error / size.clamp(min=torch.finfo(actual.dtype).smallest_normal)).max())


@dtypes
@every_activation
def test_elementwise_errors(activation: str, dtype: torch.dtype) -> None:
    """From denormals to 1e4, values and derivatives are at most twice as far off as torch's."""
    ranges = [(sign * s / 2, sign * 2 * s) for s in SCALES[dtype] for sign in (1, -1)]
    for low, high in [*ranges, (-3, -1), (-1, 1), (1, 3), (3, 8), (-8, -3)]:
        z = torch.linspace(low, high, 4097, dtype=torch.float64).to(dtype)
        arriving = torch.linspace(0.5, 2, 4097, dtype=torch.float64).to(dtype)
        exact = elementwise(linear_then, z.double(), activation, arriving.double())
        ours = elementwise(dense, z, activation, arriving)
        theirs = elementwise(linear_then, z, activation, arriving)
        for mine, other, real, what in zip(ours, theirs, exact, ("φ", "φ'"), strict=True):
            for relative in (True, False):
                allowed = 2 * worst(other, real, relative=relative)
                found = worst(mine, real, relative=relative)
                # Half a unit in the last place is the least that any rounding costs.
                assert found <= max(allowed, torch.finfo(dtype).eps), f"{what} on {low}..{high}"


@dtypes
@every_activation
def test_errors_of_a_layer(activation: str, dtype: torch.dtype) -> None:
    """Output and the gradients of x, weight and bias are at most twice as far off as torch's."""
    for scale in (1e-3, 1.0, 30.0):
        wide = [t * scale for t in inputs("identity", (64,), 32, 16)[:1]]
        wide += inputs("identity", (64,), 32, 16)[1:]
        given = [t.to(dtype) for t in wide]
        arriving = torch.randn(64, 16, dtype=torch.float64).to(dtype)

        def everything(layer: Layer, tensors: list[Tensor], arriving: Tensor) -> list[Tensor]:
            leaves = [t.detach().requires_grad_() for t in tensors]
            output = layer(*leaves, activation)
            return [output.detach(), *torch.autograd.grad(output, leaves, arriving)]

        exact = everything(linear_then, [t.double() for t in given], arriving.double())
        ours = everything(dense, given, arriving)
        theirs = everything(linear_then, given, arriving)
        for mine, other, real in zip(ours, theirs, exact, strict=True):
            assert mine.dtype == dtype
            norm = max(float(real.norm()), torch.finfo(dtype).smallest_normal)
            error, allowed = (float((t.double() - real).norm()) / norm for t in (mine, other))
            assert error <= 2 * allowed + torch.finfo(dtype).eps / 8


def kinds(tensor: Tensor) -> list[str]:
    """Of each element: nan, inf, -inf or finite."""
    return [
        "nan" if math.isnan(v) else str(v) if math.isinf(v) else "finite"
        for v in tensor.flatten().tolist()
    ]


INF, NAN = math.inf, math.nan
SPECIAL = (0.0, -0.0, INF, -INF, NAN, 1.0, -1.0, 6.0, 3.0, -3.0, 1e-45, 20.0, -20.0, 1e4, -1e4)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=dtype_id
)
@every_activation
def test_infinities_and_nans(activation: str, dtype: torch.dtype) -> None:
    """Wherever z or the arriving gradient is not finite, so is, and is not, what torch answers.

    Torch's vector and scalar loops differ at some nans: either one's answer is right.
    """
    values = (*SPECIAL, torch.finfo(dtype).max, -torch.finfo(dtype).max)
    for value, arriving in product(values, (1.0, 0.0, INF, -INF, NAN)):
        seen: dict[str, list[set[str]]] = {}
        for name, layer in (("ours", dense), ("theirs", linear_then)):
            found: list[set[str]] = [set(), set()]
            for count in (1, 67):  # the scalar loop; vectors and a rest
                z = torch.full((count,), value, dtype=torch.float64).to(dtype)
                grad = torch.full((count,), arriving, dtype=dtype)
                for kinds_seen, tensor in zip(
                    found, elementwise(layer, z, activation, grad), strict=True
                ):
                    kinds_seen.update(kinds(tensor))
            seen[name] = found
        if (activation, dtype, value) == ("logsigmoid", torch.float16, 20.0):
            continue  # torch's slope of 2e-9 is rounded to 0 before ∞ meets it, ours afterwards
        for mine, other, what in zip(seen["ours"], seen["theirs"], ("φ", "φ'"), strict=True):
            assert mine <= other, f"{what} at {value}, {arriving} arriving"


@pytest.mark.parametrize("place", ["x", "weight", "bias", "grad"])
@every_activation
def test_a_spoilt_element(activation: str, place: str) -> None:
    """One nan or infinity in any argument spoils what it spoils in torch, and nothing else."""

    def spoilt(layer: Layer, value: float) -> Any:
        torch.manual_seed(0)
        x, weight, bias = inputs(activation, (8,), 4, 8)  # whole vectors: no scalar loop
        arriving = torch.randn(8, 8).double()
        {"x": x[2], "weight": weight[1], "bias": bias, "grad": arriving[3]}[place][0] = value
        leaves = [t.requires_grad_() for t in (x, weight, bias)]
        output = layer(*leaves, activation)
        grads = torch.autograd.grad(output, leaves, arriving)
        return [kinds(t.detach()) for t in (output, *grads)]

    for value in (INF, -INF, NAN):
        assert spoilt(dense, value) == spoilt(linear_then, value), str(value)


@every_activation
def test_signs_of_zero(activation: str) -> None:
    """φ(0) and φ(−0) have the signs that torch gives them."""
    z = torch.tensor([0.0, -0.0], dtype=torch.float32)
    ours, theirs = (
        elementwise(layer, z, activation, torch.ones(2))[0].signbit()
        for layer in (dense, linear_then)
    )
    assert torch.equal(ours, theirs)


@every_activation
def test_the_derivative_at_a_kink(activation: str) -> None:
    """At ±0, ±1, ±3, 6 and 20 the derivative is the one that torch chose."""
    z = torch.tensor([0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 6.0, 20.0], dtype=torch.float64)
    ours, theirs = (
        elementwise(layer, z, activation, torch.ones(8).double())[1]
        for layer in (dense, linear_then)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@every_activation
def test_second_derivatives_stay_finite(activation: str) -> None:
    """φ'' is finite, and torch's, from the far left to the far right and at the kinks."""
    z = torch.tensor(
        [0.0, 1.0, -1.0, 3.0, -3.0, 6.0, 19.9, 20.1, 30.0, -30.0, 100.0, -100.0, 800.0, -800.0],
        dtype=torch.float64,
    )

    def bend(layer: Layer) -> Tensor:
        x = z[:, None].clone().requires_grad_()
        output = layer(x, torch.ones(1, 1).double(), None, activation)
        (slope,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
        (answer,) = torch.autograd.grad(slope.sum(), x)
        return answer

    ours, theirs = bend(dense), bend(linear_then)
    finite = theirs.isfinite()
    assert ours[finite].isfinite().all()
    torch.testing.assert_close(ours[finite], theirs[finite], rtol=1e-9, atol=1e-12)
