"""Dropout's mask."""

import pytest
import torch

from tests.problems import DTYPES, dtype_id
from torchmlp.kernels.dropout import dropout_mask


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_and_scale(rate: float) -> None:
    """0 with probability `rate`, else 1 / (1 − rate): the mean stays 1."""
    n = 100_000
    mask = dropout_mask(torch.empty(n), rate)
    kept = mask != 0
    assert torch.equal(mask[kept], torch.ones(int(kept.sum())) / (1 - rate))
    five_sigma = 5 * (rate * (1 - rate) / n) ** 0.5
    assert abs(kept.double().mean().item() - (1 - rate)) < five_sigma
    assert abs(mask.double().mean().item() - 1) < five_sigma / (1 - rate)


def test_elements_are_independent() -> None:
    """Neither neighbours nor two draws agree more often than chance has it."""
    masks = dropout_mask(torch.empty(2, 50_000), 0.5) != 0
    for one, other in ((masks[0], masks[1]), (masks[0][1:], masks[0][:-1])):
        assert abs((one == other).double().mean().item() - 0.5) < 5 * 0.5 / 50_000**0.5


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_like_its_input(dtype: torch.dtype) -> None:
    """Shape and dtype are the input's, whose values are not read."""
    mask = dropout_mask(torch.full((3, 0, 2), torch.nan, dtype=dtype), 0.5)
    assert mask.shape == (3, 0, 2)
    assert mask.dtype == dtype
    assert dropout_mask(torch.full((9,), torch.nan, dtype=dtype), 0.5).isfinite().all()


def test_draws_as_torch_does() -> None:
    """From one seed the mask is the one that torch.nn.Dropout draws on the CPU."""
    x = torch.ones(1000)
    torch.manual_seed(3)
    expected = torch.nn.functional.dropout(x, 0.3)
    torch.manual_seed(3)
    assert torch.equal(dropout_mask(x, 0.3), expected)


def test_rate_zero() -> None:
    """Nothing is dropped, nothing is scaled."""
    assert torch.equal(dropout_mask(torch.empty(50), 0.0), torch.ones(50))
