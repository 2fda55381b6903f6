"""Minibatches of shards, shuffled within a window: data larger than memory."""

import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from torchmlp.data.batches.distributed import RankShard, check_count
from torchmlp.data.permutation import permutation
from torchmlp.data.shards.reader import ShardFiles, ShardReader, check_same_sample_shape, open_shard


class StreamingBatches(RankShard, IterableDataset[tuple[Tensor, Tensor]]):
    """Minibatches of a data set larger than memory, read from files while they are asked for.

    Used like `Batches`, as a dataloader of its own: iterating yields `(inputs, targets)`, inputs as
    stored and targets as int64, and begins the next epoch. Or with worker processes, in
    `DataLoader(batches, batch_size=None, num_workers=k)`, which yields the same batches in the same
    order. Workers cannot count epochs: call `set_epoch` before each, as for torch's own samplers.

    Without `shuffle` the order is that of the files. With it, it is a function of seed, epoch,
    `block_size`, `buffer_size` and the shards' sizes alone, and random as far as this: blocks of
    `block_size` neighbouring rows are put into a uniformly random order over all shards; the rows
    in this order are cut into windows of `buffer_size`, and each window is permuted uniformly. A
    batch so draws from `buffer_size / block_size` places of the whole data set, but neighbours in a
    file come less than a window apart, or two where an edge cuts their block. A data set no larger
    than the window is permuted uniformly. A compressed shard can only be read whole and is one
    block, permuted uniformly in itself: it mixes with those it shares a window with and no others,
    so each compressed shard should hold samples of every kind.

    Ranks share the order as in `Batches`: rank, rank + world_size, ..., with `shuffle` lengthened
    from its own beginning until all get equally many; without, every sample comes exactly once. A
    rank's k-th batch is made by worker k modulo their number.

    Memory: three windows, a batch, the compressed shard being read, and 40 bytes per block; for
    each worker again. Cost: ranks and workers read their own rows only, but each unpacks every
    compressed shard.

    Args:
        shards: for each shard an .npz file that holds `inputs` and `targets` (see `write_shards`),
            or the pair (inputs, targets) of IDX files, MNIST's format, each raw or gzip'ed. Sizes
            may differ. Compressed are gzip'ed files and what np.savez_compressed writes.
        batch_size: samples per batch and process; the last batch may be shorter.
        shuffle: whether to permute.
        seed: any integer; another seed, another order.
        rank: this process, 0..world_size - 1.
        world_size: number of processes.
        drop_last: leave out a last batch that is shorter than `batch_size`.
        buffer_size: rows per window. More: nearer to uniform, and more memory.
        block_size: neighbouring rows that stay together. Fewer: nearer to uniform, and more seeks.

    Raises:
        ValueError: when there are no shards or no samples, or a setting is out of its range.
        DataError: when a file is missing or damaged, its arrays are not what training takes, or
            shards differ in the shape or dtype of a sample; while iterating, also when an input is
            NaN or infinite. Compressed files are compared with their checksums, others only with
            the size they should have.
    """

    def __init__(
        self,
        shards: Sequence[ShardFiles],
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        buffer_size: int = 8192,
        block_size: int = 64,
    ) -> None:
        check_count("StreamingBatches", "buffer_size", buffer_size)
        check_count("StreamingBatches", "block_size", block_size)
        if isinstance(shards, str) or len(shards) == 0:
            raise ValueError(
                f"StreamingBatches: shards={shards!r}, expected a list of at least one shard"
            )
        self.seed, self.buffer_size = seed, buffer_size
        self._shards = [open_shard(files) for files in shards]
        for shard in self._shards:
            check_same_sample_shape(shard, self._shards[0])
        samples = sum(len(shard) for shard in self._shards)
        if samples == 0:
            raise ValueError("StreamingBatches: the shards are empty, expected at least one sample")
        super().__init__(
            "StreamingBatches",
            samples,
            batch_size,
            shuffle=shuffle,
            rank=rank,
            world_size=world_size,
            drop_last=drop_last,
        )
        # Of each block: its shard, its first row there, and how many rows it has.
        firsts = [
            np.arange(0, len(shard), max(1, len(shard)) if shard.compressed else block_size)
            for shard in self._shards
        ]
        rows = [np.diff(f, append=len(s)) for f, s in zip(firsts, self._shards, strict=True)]
        self._shard = np.repeat(np.arange(len(firsts)), [len(first) for first in firsts])
        self._first, self._rows = np.concatenate(firsts), np.concatenate(rows)
        # The next epoch, and whether set_epoch has named one. Shared: workers that persist see it.
        self._epoch = torch.zeros(2, dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of this epoch, as after a resume; later ones follow on."""
        self._epoch[:] = torch.tensor([epoch, 1])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, named = self._epoch.tolist()
        worker = get_worker_info()
        if worker is None:
            self._epoch[0] += 1
            return self._batches(epoch, 0, 1)
        if self.shuffle and not named and worker.id == 0:
            warnings.warn(
                f"StreamingBatches: DataLoader workers cannot count epochs; this is epoch {epoch} "
                "until set_epoch is called, which should be before each",
                stacklevel=2,
            )
        return self._batches(epoch, worker.id, worker.num_workers)

    def _batches(self, epoch: int, worker: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
        left: list[tuple[np.ndarray, np.ndarray]] = []  # what did not fill a batch
        for window in self._windows(epoch, worker, workers):
            inputs, targets = map(np.concatenate, zip(*left, window, strict=True))
            whole = len(targets) // self.batch_size * self.batch_size
            for first in range(0, whole, self.batch_size):
                batch = slice(first, first + self.batch_size)
                # Copies: whoever keeps a view of one batch keeps the whole window.
                yield (
                    torch.from_numpy(inputs[batch].copy()),
                    torch.from_numpy(targets[batch].copy()),
                )
            left = [(inputs[whole:].copy(), targets[whole:].copy())]
        for inputs, targets in left:
            if len(targets):
                yield torch.from_numpy(inputs), torch.from_numpy(targets)

    def _windows(
        self, epoch: int, worker: int, workers: int
    ) -> Iterator[tuple[Shaped[np.ndarray, "n ..."], Int64[np.ndarray, " n"]]]:
        """Inputs and targets of this rank and worker, in the epoch's order, window by window."""
        blocks = np.arange(len(self._first))
        if self.shuffle:
            blocks = permutation(len(blocks), self.seed, epoch).numpy()
        begins = np.cumsum(self._rows[blocks]) - self._rows[blocks]
        reader = ShardReader()
        for places in self._places(worker, workers):
            stream = self._permuted(places, epoch) if self.shuffle else places
            index = np.searchsorted(begins, stream, side="right") - 1
            shard, row = self._located(blocks[index], stream - begins[index], epoch)
            # In the order of the stream, so that each compressed shard is unpacked once.
            turns = dict.fromkeys(shard[np.argsort(stream)].tolist())
            inputs, targets = self._shards[0].empty(len(places))
            for turn in turns:
                here = np.flatnonzero(shard == turn)
                here = here[np.argsort(row[here])]
                inputs[here], targets[here] = reader.read(self._shards[turn], row[here])
            yield inputs, targets

    def _places(self, worker: int, workers: int) -> Iterator[Int64[np.ndarray, " n"]]:
        """Where in the epoch's order this rank's and worker's samples stand, window by window."""
        taken = min(self._count(), len(self) * self.batch_size)
        # The last stretch, past the end, lengthens the order from its beginning.
        edges = [*range(0, self._samples, self.buffer_size), self._samples]
        edges.append(max(self._samples, self._count() * self.world_size))
        for first, last in pairwise(edges):
            place = np.arange(first, last)
            place = place[place % self.world_size == self.rank]
            nth = place // self.world_size
            mine = (nth < taken) & (nth // self.batch_size % workers == worker)
            if mine.any():
                yield place[mine] % self._samples

    def _permuted(self, places: Int64[np.ndarray, " n"], epoch: int) -> Int64[np.ndarray, " n"]:
        """Which rows of the stream of blocks the window's permutation puts in these places."""
        first = int(places[0]) // self.buffer_size * self.buffer_size
        size = min(self.buffer_size, self._samples - first)
        window = permutation(size, self.seed, epoch, 0, first)
        return first + window[torch.from_numpy(places - first)].numpy()

    def _located(
        self, block: Int64[np.ndarray, " n"], row: Int64[np.ndarray, " n"], epoch: int
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Shards and rows in them, of these rows of blocks; compressed ones are permuted inside."""
        shard, row = self._shard[block], self._first[block] + row
        if self.shuffle:
            for one in np.unique(shard).tolist():
                if self._shards[one].compressed:
                    inside = permutation(len(self._shards[one]), self.seed, epoch, 1, one).numpy()
                    row[shard == one] = inside[row[shard == one]]
        return shard, row
