"""In float16 the average belongs in the gradient's matrix product, not in the delta."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import worst_relative_error
from torchmlp.kernels.dense import dense_grad_weight
from torchmlp.kernels.losses import loss_delta
from torchmlp.kernels.network import Layer, Pass, run, scan_deltas

SMALLEST_NORMAL = torch.finfo(torch.float16).smallest_normal


class Averaged(NamedTuple):
    """The average taken in one place: active hidden deltas that are lost, the gradient's error."""

    zero: float
    subnormal: float
    error: float


def first_gradient(
    layers: list[Layer], passed: Pass, delta: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """The first layer's delta and weight gradient."""
    hidden = scan_deltas(delta, passed, layers)[0]
    return hidden, dense_grad_weight(hidden, passed.a[0], scale)


def averaged(rows: int) -> tuple[Averaged, Averaged]:
    """784-128-10 as torch initialises it, inputs in 0..1: averaged in the delta, in the product."""
    layers = []
    for fan_in, fan_out, activation in ((784, 128, "relu"), (128, 10, "identity")):
        linear = nn.Linear(fan_in, fan_out)
        layers.append(Layer(linear.weight.detach(), linear.bias.detach(), activation))
    layers = [Layer(w.half(), None if b is None else b.half(), phi) for w, b, phi in layers]
    wide = [Layer(w.double(), None if b is None else b.double(), phi) for w, b, phi in layers]
    x, target = torch.rand(rows, 784).half(), torch.randint(10, (rows,))
    exact_pass = run(x.double(), wide)
    exact_delta = loss_delta(exact_pass.a[-1], target, "cross_entropy")
    _, exact = first_gradient(wide, exact_pass, exact_delta, 1 / rows)
    passed = run(x, layers)
    delta = loss_delta(passed.a[-1], target, "cross_entropy")

    def measured(delta: Tensor, scale: float) -> Averaged:
        hidden, gradient = first_gradient(layers, passed, delta, scale)
        active = hidden[passed.a[1] > 0].abs()
        tiny = (active > 0) & (active < SMALLEST_NORMAL)
        return Averaged(
            (active == 0).double().mean().item(),
            tiny.double().mean().item(),
            worst_relative_error([gradient], [exact]),
        )

    return measured(delta / rows, 1.0), measured(delta, 1 / rows)


@pytest.mark.parametrize("rows", [2**7, 2**10, 2**13, 2**16])
def test_average_in_the_product(rows: int) -> None:
    """Per sample, hardly a delta is lost at any batch size; divided by B, ever more of them are.

    The figures behind the bounds stand in benchmarks/results/half_precision.csv.
    """
    in_delta, in_product = averaged(rows)
    assert in_product.zero < 1e-5
    assert in_product.subnormal < 2e-3
    assert in_product.error < torch.finfo(torch.float16).eps / 2
    assert in_delta.subnormal > 50 * in_product.subnormal
    assert in_delta.error > 0.95 * in_product.error
    if rows >= 1024:
        assert in_delta.subnormal > 0.7
        assert in_delta.error > 1.1 * in_product.error
    if rows == 65536:
        assert in_delta.error > 100 * in_product.error
