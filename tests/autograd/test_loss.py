"""mean_loss() against finite differences and torch.nn.functional."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from tests.oracles import losses
from tests.problems import DTYPES, LOSS_CASES, assert_elementwise, dtype_id, encode_targets
from torchmlp.autograd import mean_loss

every_case = pytest.mark.parametrize("case", LOSS_CASES)
batches = pytest.mark.parametrize("batch", [(), (3,), (2, 2)], ids=["none", "one", "two"])
STRICT: dict[str, Any] = {"rtol": 0.0, "atol": 1e-7}


def arguments(case: str, batch: tuple[int, ...]) -> tuple[Tensor, Tensor, str]:
    output = torch.randn(*batch, 3, dtype=torch.float64, requires_grad=True)
    target = encode_targets(case, batch, 3)
    return output, target.requires_grad_(target.is_floating_point()), case.partition("-")[0]


@batches
@every_case
def test_gradcheck(case: str, batch: tuple[int, ...]) -> None:
    """Derivatives by output and soft target are the finite differences, in every mode."""
    output, target, loss = arguments(case, batch)

    def function(output: Tensor, target: Tensor) -> Tensor:
        return mean_loss(output, target, loss)

    assert gradcheck(
        function,
        (output, target),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
        **STRICT,
    )
    assert gradgradcheck(
        function, (output, target), check_fwd_over_rev=True, check_batched_grad=True, **STRICT
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_case
def test_is_torchs(case: str, dtype: torch.dtype) -> None:
    """Value and gradients are torch.nn.functional's; dtypes are the arguments'."""
    output, target, loss = arguments(case, (6,))
    output = output.detach().to(dtype).requires_grad_()
    if target.is_floating_point():
        target = target.detach().to(dtype).requires_grad_()
    leaves = [output, target] if target.requires_grad else [output]
    value = mean_loss(output, target, loss)
    wide = [tensor.detach().double().requires_grad_() for tensor in leaves]
    exact = losses(wide[0], wide[1] if len(wide) == 2 else target, loss).mean()
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(value.double(), exact, rtol=4 * eps, atol=0)
    assert value.dtype == dtype
    for gradient, real, leaf in zip(
        torch.autograd.grad(value, leaves), torch.autograd.grad(exact, wide), leaves, strict=True
    ):
        assert gradient.dtype == leaf.dtype
        # fp16 rounds twice: the delta, and its share 1/B.
        torch.testing.assert_close(gradient.double(), real, rtol=4 * eps, atol=4 * eps)


@every_case
def test_zero_rows(case: str) -> None:
    """No rows: nan, as torch.nn has it, and gradients without rows."""
    output, target, loss = arguments(case, (0,))
    value = mean_loss(output, target, loss)
    assert value.isnan()
    (gradient,) = torch.autograd.grad(value, output)
    assert gradient.shape == (0, 3)


@every_case
def test_vmap(case: str) -> None:
    """Vmap over samples gives each sample's loss and gradient."""
    output, target, loss = arguments(case, (5,))
    output, target = output.detach(), target.detach()
    per_sample = torch.func.vmap(lambda o, t: mean_loss(o, t, loss))(output, target)
    assert_elementwise(per_sample, losses(output, target, loss))
    gradients = torch.func.vmap(torch.func.grad(lambda o, t: mean_loss(o, t, loss)))(output, target)
    o = output.clone().requires_grad_()
    assert_elementwise(gradients, torch.autograd.grad(losses(o, target, loss).sum(), o)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
def test_autocast_is_float32(dtype: torch.dtype) -> None:
    """Under autocast the loss is taken in float32; float64 is left alone."""
    output = torch.randn(4, 3).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mean_loss(output, torch.zeros(4, dtype=torch.long)).dtype == torch.float32
        assert mean_loss(output.double(), torch.zeros(4, dtype=torch.long)).dtype == torch.float64


def test_on_the_meta_device() -> None:
    """A device without autocast will do."""
    meta = torch.empty(4, 3, device="meta")
    assert mean_loss(meta, meta, "mse").shape == ()


def test_mistakes_are_explained() -> None:
    """Unknown names, shapes, dtypes and labels are refused as the kernels refuse them."""
    output = torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"unknown loss 'nll'; .*cross_entropy, mse, bce"):
        mean_loss(output, output, "nll")
    with pytest.raises(
        ValueError, match=r"shape \(4,\) for an output of shape \(4, 3\), got \(3,\)"
    ):
        mean_loss(output, torch.zeros(3, dtype=torch.long))
    with pytest.raises(TypeError, match=r"mse: expected a floating-point target"):
        mean_loss(output, torch.zeros(4, dtype=torch.long), "mse")
    with pytest.raises(ValueError, match=r"label 3 is outside the 3 classes 0\.\.2 \(1 of 4"):
        mean_loss(output, torch.tensor([0, 1, 3, 2]))
