"""Minibatches of arrays in memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

from torchmlp.data.batches.distributed import RankShard
from torchmlp.data.permutation import permutation

_NUMPY_DTYPES = {torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64}


class Batches(RankShard):
    """Minibatches of a data set that is in memory, for one process or one of several.

    Iterating yields `(inputs[index], targets[index])`. The order is that of the data, or with
    `shuffle` a permutation that is a function of seed and epoch alone. Each iteration begins the
    next epoch: 0, 1, 2, ... or onward from the one named by `set_epoch`.

    Of `world_size` processes, `rank` takes the elements rank, rank + world_size, ... of the order,
    so the k-th batches of all ranks together are the k-th batch of one process with a batch
    `world_size` times as large. With `shuffle` the order is first lengthened from its own beginning
    until all ranks get equally many. Without, every sample is seen exactly once, and one rank may
    get a sample, and so a batch, less than another (fewer samples than ranks: some get none).

    Args:
        inputs: one sample per row; uint8 (pixels, see `scale_pixels`) or floating.
        targets: as many rows.
        batch_size: samples per batch and process; the last batch may be shorter.
        shuffle: whether to permute. Without it, batches are views and cost no copy.
        seed: any integer; another seed, another order.
        rank: this process, 0..world_size - 1.
        world_size: number of processes.
        drop_last: leave out a last batch that is shorter than `batch_size`.

    Raises:
        ValueError: when there are no samples, inputs and targets differ in number, a value is NaN
            or infinite, or a setting is out of its range.
        TypeError: when inputs are integers other than uint8.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
    ) -> None:
        if len(inputs) != len(targets):
            raise ValueError(
                f"Batches: {len(inputs)} inputs but {len(targets)} targets; "
                "expected one target per input"
            )
        if len(inputs) == 0:
            raise ValueError("Batches: the data set is empty, expected at least one sample")
        if not inputs.is_floating_point() and inputs.dtype != torch.uint8:
            raise TypeError(
                f"Batches: inputs are {inputs.dtype}, expected uint8 pixels or floating values; "
                "convert with .float()"
            )
        _check_finite("inputs", inputs)
        _check_finite("targets", targets)
        self.inputs = inputs
        self.targets = targets
        self.seed = seed
        self._epoch = 0
        super().__init__(
            "Batches",
            len(inputs),
            batch_size,
            shuffle=shuffle,
            rank=rank,
            world_size=world_size,
            drop_last=drop_last,
        )

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of this epoch, as after a resume; later ones follow on."""
        # No `sampler` property through which Lightning would call this: where Lightning 2.6 sees a
        # sampler it takes the object for a DataLoader and fails on its missing batch_sampler.
        self._epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        return self._permuted(epoch) if self.shuffle else self._in_order()

    def _permuted(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = permutation(len(self.inputs), self.seed, epoch)
        position = torch.arange(self._count()) * self.world_size + self.rank
        mine = order[position % len(order)].to(self.inputs.device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            index = mine[start : start + self.batch_size]
            yield _rows(self.inputs, index), _rows(self.targets, index)

    def _in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        inputs = self.inputs[self.rank :: self.world_size]
        targets = self.targets[self.rank :: self.world_size]
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            stop = start + self.batch_size
            yield inputs[start:stop], targets[start:stop]


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """values[index], on the CPU by numpy.

    It takes 20 us for 128 images; torch takes 56 us, and 8000 us when another process has a core
    and torch's threads wait for each other.
    """
    if values.device.type == "cpu" and values.dtype in _NUMPY_DTYPES and not values.requires_grad:
        return torch.from_numpy(values.numpy()[index.numpy()])
    return values[index]


def _check_finite(name: str, values: Tensor) -> None:
    if values.is_floating_point() and not bool((finite := values.isfinite()).all()):
        position = tuple((~finite).nonzero()[0].tolist())
        raise ValueError(
            f"Batches: {name} hold {values[position].item()} at position {position}, "
            "the first value that is not finite; correct or leave out such samples"
        )
