import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmlp.data.permutation import permutation


@settings(deadline=None)
@given(st.integers(0, 100), st.lists(st.integers(), max_size=3))
def test_holds_each_index_once(count: int, seed: list[int]) -> None:
    """It is a permutation, and the same one each time, untouched by torch's own generator."""
    order = permutation(count, *seed)
    assert order.sort().values.equal(torch.arange(count))
    torch.manual_seed(count)
    assert permutation(count, *seed).equal(order)


def test_numbers_are_not_summed() -> None:
    """(seed, epoch) pairs of equal sum differ."""
    orders = [permutation(100, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9
