import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmlp.data import split_validation


@settings(deadline=None)
@given(st.data(), st.integers(1, 200), st.integers())
def test_every_sample_is_on_one_side(data: st.DataObject, count: int, seed: int) -> None:
    """Training and validation indices are disjoint, complete and ascending."""
    size = data.draw(st.integers(0, count - 1))
    train, validation = split_validation(count, size, seed)
    assert len(validation) == size
    assert torch.cat([train, validation]).sort().values.equal(torch.arange(count))
    assert train.equal(train.sort().values)
    assert validation.equal(validation.sort().values)


def test_the_seed_decides() -> None:
    """The same seed splits alike, another one differently."""
    assert split_validation(1000, 100, 1)[1].equal(split_validation(1000, 100, 1)[1])
    assert not split_validation(1000, 100, 1)[1].equal(split_validation(1000, 100, 2)[1])


@pytest.mark.parametrize("size", [-1, 10, 11])
def test_something_must_be_left_to_train_on(size: int) -> None:
    """Negative sizes and those that take everything are refused."""
    with pytest.raises(
        ValueError, match=rf"size={size} of 10 samples, expected 0..9; at least one"
    ):
        split_validation(10, size, 0)
