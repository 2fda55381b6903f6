"""dropout() as a function of x."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from tests.problems import DTYPES, dtype_id
from torchmlp.autograd.dropout import check_dropout, dropout


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_is_torchs(rate: float, dtype: torch.dtype) -> None:
    """From one seed, value and gradient are torch.nn.functional's on the CPU, bit for bit."""
    x = torch.randn(50, 20).to(dtype).requires_grad_()
    grad_output = torch.randn(50, 20).to(dtype)
    torch.manual_seed(7)
    expected = torch.nn.functional.dropout(x, rate)
    torch.manual_seed(7)
    actual = dropout(x, rate)
    assert torch.equal(actual, expected)
    assert torch.equal(
        torch.autograd.grad(actual, x, grad_output)[0],
        torch.autograd.grad(expected, x, grad_output)[0],
    )


def test_gradcheck() -> None:
    """With the mask held still, first and second derivatives are the finite differences."""
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def held_still(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return dropout(x, 0.5)

    assert gradcheck(held_still, (x,), rtol=0, atol=1e-7, check_forward_ad=True)
    assert gradgradcheck(held_still, (x,), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (0.5, False)])
def test_does_nothing(rate: float, training: bool) -> None:
    """At rate zero, and outside training, x itself comes back and nothing is drawn."""
    x, state = torch.randn(5), torch.get_rng_state()
    assert dropout(x, rate, training=training) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_under_vmap() -> None:
    """With randomness="different" each sample has a mask of its own."""
    x = torch.ones(4, 200)
    rows = torch.func.vmap(lambda row: dropout(row, 0.5), randomness="different")(x)
    assert set(rows.flatten().tolist()) == {0.0, 2.0}
    assert not torch.equal(rows[0], rows[1])


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_rate_out_of_range(rate: float) -> None:
    """A rate outside 0 <= rate < 1 is refused by its name, in evaluation too."""
    text = rf"expected a rate in 0 <= rate < 1, got {rate}"
    with pytest.raises(ValueError, match="dropout: " + text):
        dropout(torch.ones(2), rate, training=False)
    with pytest.raises(ValueError, match="input_dropout: " + text):
        check_dropout(rate, "input_dropout")
