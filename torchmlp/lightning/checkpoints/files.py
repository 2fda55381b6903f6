"""Checkpoint files: written whole, verified when read, found by a short name."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torchmlp._compat.lightning import pl
from torchmlp._runtime.sealed_file import DamagedFileError, is_whole, load_sealed, save_sealed
from torchmlp.nn.state_dicts import weights_in

INTERRUPTED = "interrupted.ckpt"


class AtomicCheckpointIO(pl.plugins.TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, with a checksum, and verifies it before it is read.

    Lightning's own goes through a temporary folder that may be another disk; a full disk then
    leaves half a file under the final name, in place of the checkpoint that was there. torch.load
    looks at no checksum.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write `checkpoint` to `path`.

        Raises:
            OSError: it could not be written; what stood at `path` is untouched.
        """
        del storage_options  # local files have none
        save_sealed(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: Any = None
    ) -> dict[str, Any]:
        """What a file holds, in Lightning's form; weights alone are a checkpoint too.

        Raises:
            FileNotFoundError: there is no such file.
            DamagedFileError: it is not what was written.
        """
        del map_location, weights_only  # to the CPU, and never a file's code
        return as_checkpoint(load_sealed(Path(path)), Path(path))


def as_checkpoint(found: Any, path: Path) -> dict[str, Any]:
    """What a file holds, in Lightning's form: weights alone are a checkpoint too.

    Raises:
        DamagedFileError: there are no weights in it.
    """
    weights = weights_in(found)
    if weights is None:
        raise DamagedFileError(f"{path} has no state_dict, and is no state_dict")
    sections = {} if found.keys() == weights.keys() else found
    return {
        "pytorch-lightning_version": version("pytorch-lightning"),
        **sections,
        "state_dict": weights,
    }


def find_checkpoint(which: str, logs: Path) -> Path:
    """The file of a checkpoint: a path, or the newest "best" or "last" of the runs under `logs`.

    Raises:
        FileNotFoundError: there is none.
    """
    if which not in ("best", "last"):
        if not Path(which).is_file():
            raise FileNotFoundError(
                f"--ckpt_path: expected a checkpoint file, found none at {which}"
            )
        return Path(which)
    # Where Ctrl-C has left a checkpoint, it is the last.
    names = ("best",) if which == "best" else ("last", INTERRUPTED)
    found = [path for path in logs.glob("*/checkpoints/*.ckpt") if path.name.startswith(names)]
    if not found:
        raise FileNotFoundError(
            f"--ckpt_path {which}: expected a run with a checkpoint in {logs}, found none; "
            f"train first, or give the checkpoint's file"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def newest_whole(damaged: Path, logs: Path) -> Path | None:
    """The newest checkpoint that is whole: of the damaged one's own run, else of the others."""
    for found in (damaged.parent.glob("*.ckpt"), logs.glob("*/checkpoints/*.ckpt")):
        for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
            if path != damaged and is_whole(path):
                return path
    return None
