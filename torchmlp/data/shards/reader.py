"""A shard, inputs and targets, of which a few rows are read at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped

from torchmlp.data.errors import DataError
from torchmlp.data.shards.format import StoredArray, check_array, idx_array, npz_array

# An .npz file, or the two IDX files of inputs and of targets.
ShardFiles = str | PathLike[str] | Sequence[str | PathLike[str]]


@dataclass(frozen=True)
class Shard:
    """Part of a data set: inputs and as many targets."""

    inputs: StoredArray
    targets: StoredArray

    def __len__(self) -> int:
        return self.inputs.shape[0]

    @property
    def compressed(self) -> bool:
        """Whether it can only be read whole."""
        return self.inputs.compressed or self.targets.compressed

    def empty(self, count: int) -> tuple[Shaped[np.ndarray, "n ..."], Int64[np.ndarray, " n"]]:
        """Arrays for `count` samples like these."""
        dtype = self.inputs.dtype.newbyteorder("=")
        return np.empty((count, *self.inputs.shape[1:]), dtype), np.empty(count, np.int64)


class ShardReader:
    """Reads rows of shards; of compressed ones it keeps the last in memory."""

    def __init__(self) -> None:
        self._shard: Shard | None = None
        self._unpacked: tuple[np.ndarray, ...] = ()

    def read(
        self, shard: Shard, rows: Int64[np.ndarray, " n"]
    ) -> tuple[Shaped[np.ndarray, "n ..."], Shaped[np.ndarray, " n"]]:
        """Inputs and targets of these rows, given in ascending order.

        Raises:
            DataError: when a file cannot be read or is damaged, or an input is not finite.
        """
        if not shard.compressed:
            inputs, targets = shard.inputs.read(rows), shard.targets.read(rows)
        else:
            if shard is not self._shard:
                self._unpacked = ()  # before, not after: one in memory, not two
                self._unpacked = (shard.inputs.load(), shard.targets.load())
                self._shard = shard
            inputs, targets = (array[rows] for array in self._unpacked)
        if inputs.dtype.kind == "f" and not (finite := np.isfinite(inputs)).all():
            sample, *position = (int(axis[0]) for axis in np.nonzero(~finite))
            raise DataError(
                f"{shard.inputs.path}: sample {rows[sample]} holds "
                f"{inputs[(sample, *position)]}, expected finite values.\n"
                "Way out: correct or leave out such samples."
            )
        return inputs, targets


def open_shard(files: ShardFiles) -> Shard:
    """Read and check the headers of a shard.

    Args:
        files: an .npz file that holds `inputs` and `targets`, or the pair (inputs, targets) of IDX
            files, MNIST's format, each raw or gzip'ed.

    Raises:
        DataError: when a file is missing or damaged, or its arrays are not what training takes.
        ValueError: when `files` is neither one file nor two.
    """
    if isinstance(files, str | PathLike):
        shard = Shard(npz_array(Path(files), "inputs"), npz_array(Path(files), "targets"))
    elif len(files) == 2:  # noqa: PLR2004  the pair
        shard = Shard(idx_array(Path(files[0])), idx_array(Path(files[1])))
    else:
        raise ValueError(f"shard {files!r}: expected an .npz file or a pair of IDX files")
    for array, role in ((shard.inputs, "inputs"), (shard.targets, "targets")):
        check_array(str(array.path), role, array.dtype, array.shape)
    if len(shard) != shard.targets.shape[0]:
        raise DataError(
            f"{shard.targets.path} holds {shard.targets.shape[0]} targets for the {len(shard)} "
            f"inputs in {shard.inputs.path}, expected one target per input.\n"
            "Way out: name files that belong together."
        )
    return shard


def check_same_sample_shape(shard: Shard, other: Shard) -> None:
    """Check that samples of two shards can stand in one batch.

    Raises:
        DataError: when their inputs differ in shape or dtype.
    """
    one, first = shard.inputs, other.inputs
    if one.shape[1:] != first.shape[1:] or one.dtype.newbyteorder("=") != first.dtype.newbyteorder(
        "="
    ):
        raise DataError(
            f"{one.path} holds samples of shape {one.shape[1:]} and {one.dtype}, expected "
            f"{first.shape[1:]} and {first.dtype} as in {first.path}.\n"
            "Way out: write the shards alike, or leave one out."
        )
