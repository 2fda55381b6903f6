"""Writing shards."""

from os import PathLike
from pathlib import Path

import numpy as np
from torch import Tensor

from torchmlp._runtime.atomic_file import atomic_writer, sweep, temporary_folder
from torchmlp.data.shards.format import check_array


def write_shards(
    inputs: Tensor | np.ndarray,
    targets: Tensor | np.ndarray,
    folder: str | PathLike[str],
    samples_per_shard: int,
) -> list[Path]:
    """Write samples as uncompressed .npz shards, in order.

    The folder gets its name when all of them are complete: a run that ends early leaves nothing.

    Args:
        inputs: one sample per row; uint8 or floating. Of an np.memmap one shard is read at a time.
        targets: as many class indices.
        folder: one that does not exist yet, or is empty.
        samples_per_shard: the last shard may hold fewer. Ten thousand images are a good size.

    Returns:
        The files, in order: shard-00000.npz and so on.

    Raises:
        ValueError: when the folder holds something, there are no samples, inputs and targets
            differ in number, or `samples_per_shard` is below 1.
        DataError: when the arrays are not what `StreamingBatches` reads.
    """
    folder = Path(folder).resolve()
    inputs, targets = np.asanyarray(inputs), np.asanyarray(targets)
    if samples_per_shard < 1:
        raise ValueError(f"write_shards: samples_per_shard={samples_per_shard}, expected 1 or more")
    check_array("write_shards", "inputs", inputs.dtype, inputs.shape)
    check_array("write_shards", "targets", targets.dtype, targets.shape)
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise ValueError(
            f"write_shards: {len(inputs)} inputs and {len(targets)} targets; "
            "expected one target per input, and at least one"
        )
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"write_shards: {folder} is not empty; name a new folder")
    names: list[str] = []
    sweep(folder.parent)
    with temporary_folder(folder) as part:
        for first in range(0, len(inputs), samples_per_shard):
            names.append(f"shard-{len(names):05}.npz")
            rows = slice(first, first + samples_per_shard)
            # C order: by columns, a row would be scattered over the file.
            samples = np.ascontiguousarray(inputs[rows])
            with atomic_writer(part / names[-1]) as file:
                np.savez(file, inputs=samples, targets=targets[rows])
        part.replace(folder)
    return [folder / name for name in names]
