"""network_loss in numbers: extreme, empty and low-precision ones, and its loss by itself."""

# mypy: allow-untyped-calls

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, vmap

from tests.conformance.layers import STRICT
from tests.conformance.networks import Energy, both, differentiable, given, ours, plain
from tests.oracles import losses
from tests.problems import ACTIVATION_NAMES, LOSS_CASES, Problem, network_problem
from torchmlp import network_loss
from torchmlp.autograd import mean_loss

every_activation = pytest.mark.parametrize("activation", ACTIVATION_NAMES)
every_loss = pytest.mark.parametrize("loss_case", LOSS_CASES)
KINDS = ("relu", "tanh", "gelu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@every_loss
@pytest.mark.parametrize("activation", KINDS)
def test_errors_in_low_precision(activation: str, loss_case: str, dtype: torch.dtype) -> None:
    """The loss's and the gradients' errors against float64 are at most twice torch's."""
    exact_problem = network_problem("tanh", loss_case, batch=(64,), widths=(32, 24, 16, 8))
    exact_problem = replace(exact_problem, activations=[activation, activation, "identity"])

    def at(problem: Problem, make: Callable[[Problem], Energy]) -> list[Tensor]:
        tensors = given(problem.wanting_gradients())
        value = make(problem)(*tensors)
        wanted = [t for t in differentiable(tensors) if t is not tensors[1]]
        return [value.detach(), *torch.autograd.grad(value, wanted)]

    def lowered(t: Tensor) -> Tensor:
        return t.to(dtype) if t.is_floating_point() else t

    low = replace(
        exact_problem,
        x=lowered(exact_problem.x),
        target=lowered(exact_problem.target),
        weights=[lowered(w) for w in exact_problem.weights],
        biases=[None if b is None else lowered(b) for b in exact_problem.biases],
    )
    wide = replace(
        low,
        x=low.x.double(),
        target=low.target.double() if low.target.is_floating_point() else low.target,
        weights=[w.double() for w in low.weights],
        biases=[None if b is None else b.double() for b in low.biases],
    )
    for mine, other, real in zip(at(low, ours), at(low, plain), at(wide, plain), strict=True):
        assert mine.dtype == other.dtype == dtype
        error, allowed = (float((t.double() - real).norm()) for t in (mine, other))
        assert error <= 2 * allowed + torch.finfo(dtype).eps * float(real.norm()) / 2


@every_loss
def test_extreme_logits(loss_case: str) -> None:
    """Logits of ±1e4, infinite and nan inputs: value and gradients are finite where torch's are."""
    problem = network_problem("identity", loss_case, widths=(3, 3))
    problem = replace(problem, weights=[torch.eye(3).double()])
    for row in ([1e4, -1e4, 0.0], [torch.inf, 0.0, 1.0], [-torch.inf, 1.0, 0.0], [torch.nan] * 3):

        def check(energy: Energy, tensors: tuple[Tensor, ...], row: list[float] = row) -> Any:
            with torch.no_grad():
                tensors[0][0] = torch.tensor(row)
            value = energy(*tensors)
            return value, torch.autograd.grad(value, tensors[0])

        both(check, problem)


@every_loss
def test_no_rows(loss_case: str) -> None:
    """A batch of no rows: torch's nan and gradients of zeros, not an error."""
    shapes = list(pairwise((4, 3, 2)))
    weights = [torch.randn(o, i, dtype=torch.float64, requires_grad=True) for i, o in shapes]
    target = torch.zeros(0, dtype=torch.long)
    if loss_case != "cross_entropy-indices":
        target = torch.zeros(0, 2, dtype=torch.float64)
    value = network_loss(
        torch.zeros(0, 4).double(), target, weights, None, "tanh", loss_case.partition("-")[0]
    )
    assert value.isnan()
    for gradient in torch.autograd.grad(value, weights):
        assert not gradient.any()


@every_loss
def test_mean_loss_is_torchs(loss_case: str) -> None:
    """The loss by itself: gradcheck, gradgradcheck with forward mode, and vmap of its gradient."""
    problem = network_problem("identity", loss_case, widths=(3, 3)).wanting_gradients()

    def energy(output: Tensor, target: Tensor) -> Tensor:
        return mean_loss(output, target, problem.loss)

    leaves = (problem.x, problem.target)
    assert gradcheck(
        energy,
        leaves,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
        **STRICT,
    )
    assert gradgradcheck(energy, leaves, check_fwd_over_rev=True, check_batched_grad=True, **STRICT)
    x, target = (t.detach() for t in leaves)
    actual = vmap(grad(energy))(x, target)
    expected = vmap(grad(lambda o, t: losses(o, t, problem.loss).mean()))(x, target)
    torch.testing.assert_close(actual, expected)
    bent = hessian(lambda o, t: losses(o, t, problem.loss).mean())(x, target)
    torch.testing.assert_close(hessian(energy)(x, target), bent)
