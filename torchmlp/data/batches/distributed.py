"""A process's share of the batches."""

from typing import Any


class RankShard:
    """One process's part of the batches of an epoch.

    Of `world_size` processes, `rank` takes the elements rank, rank + world_size, ... of the order.
    With `shuffle` the order is first lengthened until all ranks get equally many; without, every
    sample comes exactly once.

    Args:
        owner: the class whose settings these are, for messages.
        samples: in the data set.
        batch_size: samples per batch and process.
        shuffle: whether the order is permuted.
        rank: this process, 0..world_size - 1.
        world_size: number of processes.
        drop_last: leave out a last batch that is shorter than `batch_size`.

    Raises:
        ValueError: a setting out of its range, or a drop_last that leaves no batch.
    """

    def __init__(
        self,
        owner: str,
        samples: int,
        batch_size: Any,  # whatever the caller gave: it is looked at here
        *,
        shuffle: bool,
        rank: int,
        world_size: int,
        drop_last: bool,
    ) -> None:
        check_count(owner, "batch_size", batch_size)
        if not 0 <= rank < world_size:
            raise ValueError(
                f"{owner}: rank={rank} with world_size={world_size}, "
                "expected 0 <= rank < world_size"
            )
        self._samples = samples
        self.batch_size: int = batch_size
        self.shuffle, self.drop_last = shuffle, drop_last
        self.rank, self.world_size = rank, world_size
        if drop_last and len(self) == 0:
            raise ValueError(
                f"{owner}: drop_last=True leaves no batch of {self._count()} samples "
                f"with batch_size={batch_size}"
            )

    def __len__(self) -> int:
        """Batches per epoch of this rank; without `shuffle` it may differ by one between ranks."""
        count = self._count()
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def _count(self) -> int:
        """Samples per epoch of this rank."""
        if self.shuffle:
            return -(-self._samples // self.world_size)
        return len(range(self.rank, self._samples, self.world_size))


def check_count(owner: str, name: str, value: object) -> None:
    """Raise ValueError unless the value is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{owner}: {name}={value!r}, expected an integer of at least 1")
