import importlib.util
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchmlp.data import Batches
from torchmlp.data.batches import in_memory as batches

INDICES = torch.arange(23)
PIXELS = torch.arange(23 * 6, dtype=torch.uint8).reshape(23, 2, 3)


def seen(loader: Batches) -> list[list[int]]:
    """The targets of each batch of one epoch; with INDICES as targets, which samples came."""
    return [targets.tolist() for _, targets in loader]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "inputs",
    [
        PIXELS,
        PIXELS.double(),
        PIXELS.bfloat16(),
        PIXELS.float().transpose(1, 2),
        torch.nn.Parameter(PIXELS.float()),
    ],
    ids=["uint8", "float64", "bfloat16", "strided", "requires-grad"],
)
def test_inputs_go_with_their_targets(inputs: Tensor, shuffle: bool) -> None:
    """Each batch holds rows of the inputs and the targets of the same rows, unconverted."""
    loader = Batches(inputs, INDICES, 5, shuffle=shuffle)
    assert len(loader) == 5
    for x, targets in loader:
        assert x.dtype == inputs.dtype
        assert x.equal(inputs[targets])


def test_in_order_batches_are_views() -> None:
    """Without shuffling no pixel is copied."""
    loader = Batches(PIXELS, INDICES, 5)
    assert seen(loader) == [list(range(k, min(k + 5, 23))) for k in range(0, 23, 5)]
    storage = PIXELS.untyped_storage().data_ptr()
    assert all(x.untyped_storage().data_ptr() == storage for x, _ in loader)


def test_each_epoch_is_another_permutation() -> None:
    """Iterating moves on to the next epoch by itself; every sample comes once per epoch."""
    loader = Batches(PIXELS, INDICES, 5, shuffle=True)
    epochs = [[i for batch in seen(loader) for i in batch] for _ in range(3)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert list(range(23)) not in epochs


def test_an_epoch_depends_on_seed_and_number_only() -> None:
    """Resuming at epoch 2 gives what an uninterrupted run had there."""
    whole = Batches(PIXELS, INDICES, 5, shuffle=True, seed=3)
    epochs = [seen(whole) for _ in range(4)]
    resumed = Batches(PIXELS, INDICES, 5, shuffle=True, seed=3)
    torch.manual_seed(0)
    resumed.set_epoch(2)
    assert [seen(resumed), seen(resumed)] == epochs[2:]
    assert seen(Batches(PIXELS, INDICES, 5, shuffle=True, seed=4)) not in epochs


def test_is_not_taken_for_a_dataloader() -> None:
    """With a sampler or a dataset, Lightning would look for the rest of a DataLoader and fail."""
    loader = Batches(PIXELS, INDICES, 5, shuffle=True)
    assert not {"sampler", "batch_sampler", "dataset"} & set(dir(loader))


def test_an_abandoned_iteration_counts() -> None:
    """An epoch begins with iter(), not with its first batch, and is not disturbed by the next."""
    loader = Batches(PIXELS, INDICES, 5, shuffle=True)
    first = iter(loader)
    second = seen(loader)
    loader.set_epoch(0)
    assert [targets.tolist() for _, targets in first] == seen(loader) != second


@settings(deadline=None)
@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 8),
    world_size=st.integers(1, 5),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
)
def test_ranks_together_are_one_process(
    count: int, batch_size: int, world_size: int, shuffle: bool, drop_last: bool
) -> None:
    """The k-th batches of all ranks are the k-th of one process, world_size times as large."""
    data = torch.zeros(count, 1), torch.arange(count)

    def loader(size: int, rank: int = 0, of: int = 1, drop_last: bool = False) -> Batches:
        return Batches(
            *data, size, shuffle=shuffle, seed=1, rank=rank, world_size=of, drop_last=drop_last
        )

    if drop_last and count // world_size < batch_size:
        return
    ranks = [loader(batch_size, rank, world_size, drop_last) for rank in range(world_size)]
    sharded = [seen(rank) for rank in ranks]
    assert [len(epoch) for epoch in sharded] == [len(rank) for rank in ranks]
    for k, whole in enumerate(seen(loader(batch_size * world_size))):
        together = [index for epoch in sharded for index in (epoch[k] if k < len(epoch) else [])]
        if len(whole) == batch_size * world_size or not (shuffle or drop_last):
            assert sorted(together) == sorted(whole)
        elif not drop_last:
            assert set(whole) <= set(together)
    sizes = [sum(map(len, epoch)) for epoch in sharded]
    if shuffle:
        assert len(set(sizes)) == 1, "every rank takes equally many steps"
        if not drop_last:
            assert sizes[0] == math.ceil(count / world_size)
    elif not drop_last:
        assert sum(sizes) == count, "evaluation counts every sample once"


def test_a_batch_larger_than_the_data_is_one_short_batch() -> None:
    """It is no error, except where drop_last would then leave nothing to train on."""
    assert seen(Batches(PIXELS, INDICES, 100)) == [list(range(23))]
    assert len(Batches(PIXELS, INDICES, 23, drop_last=True)) == 1
    assert [len(b) for b in seen(Batches(PIXELS, INDICES, 10, drop_last=True))] == [10, 10]
    with pytest.raises(ValueError, match="drop_last=True leaves no batch of 23 samples"):
        Batches(PIXELS, INDICES, 24, drop_last=True)


def unchecked_batches() -> Any:
    """The class without the test run's type checks, as users have it."""
    spec = importlib.util.spec_from_file_location("unchecked_batches", batches.__file__)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Batches


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "8", True, None])
def test_batch_size_is_a_positive_integer(batch_size: object) -> None:
    """Anything else is refused, in the caller's words."""
    with pytest.raises(ValueError, match=f"batch_size={batch_size!r}, expected an integer of at"):
        unchecked_batches()(PIXELS, INDICES, batch_size)


@pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 2), (0, 0)])
def test_rank_is_one_of_the_world(rank: int, world_size: int) -> None:
    """A rank that no process has is refused."""
    with pytest.raises(ValueError, match=f"rank={rank} with world_size={world_size}"):
        Batches(PIXELS, INDICES, 5, rank=rank, world_size=world_size)


def test_data_that_cannot_be_trained_on() -> None:
    """Unequal lengths, no samples, values that are not finite, and integers are refused."""
    with pytest.raises(ValueError, match="23 inputs but 22 targets"):
        Batches(PIXELS, INDICES[:22], 5)
    with pytest.raises(ValueError, match="the data set is empty"):
        Batches(PIXELS[:0], INDICES[:0], 5)
    for dtype in (torch.int64, torch.bool):
        with pytest.raises(TypeError, match=rf"inputs are {dtype}, .* convert with .float\(\)"):
            Batches(PIXELS.to(dtype), INDICES, 5)
    values = torch.zeros(23, 4)
    values[3, 1], values[20, 0] = math.inf, math.nan
    with pytest.raises(ValueError, match=r"inputs hold inf at position \(3, 1\)"):
        Batches(values, INDICES, 5)
    with pytest.raises(ValueError, match=r"targets hold nan at position \(20, 0\)"):
        Batches(PIXELS, values.where(values != math.inf, 0), 5)
