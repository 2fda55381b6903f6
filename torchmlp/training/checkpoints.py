"""Checkpoints: whole or not at all, kept when a run is interrupted, found again by a short name."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torchmlp.training.lightning import pl
from torchmlp.training.plain_weights import weights_in
from torchmlp.training.sealed import DamagedFileError, is_whole, load_sealed, save_sealed

INTERRUPTED = "interrupted.ckpt"


class WholeCheckpointIO(pl.plugins.TorchCheckpointIO):
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


class SaveWhenInterrupted(pl.Callback):
    """Saves what a run has learned when Ctrl-C or SIGTERM ends it.

    Attributes:
        saved: the file, or None.
        interrupted: whether Ctrl-C ended the run.
    """

    def __init__(self) -> None:
        self.saved: Path | None = None
        self.interrupted = False

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save `interrupted.ckpt` beside the run's other checkpoints."""
        del pl_module
        self.interrupted = isinstance(exception, KeyboardInterrupt)
        keep = self.interrupted or isinstance(exception, SystemExit)  # SIGTERM comes as one
        callback = trainer.checkpoint_callback
        if not keep or trainer.state.fn != "fit" or trainer.global_step == 0:
            return
        if not isinstance(callback, pl.callbacks.ModelCheckpoint) or not callback.dirpath:
            return
        self.saved = Path(callback.dirpath) / INTERRUPTED
        trainer.save_checkpoint(self.saved)


class BestAndLast(pl.callbacks.ModelCheckpoint):
    """Keeps the best checkpoint and that of the last epoch; a resumed run goes on looking.

    Lightning's own writes last.ckpt only beside a new best, and forgets the best of the part before
    the cut, for the resumed run has another folder.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best, if this epoch is, and the last."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._last_global_step_saved != trainer.global_step:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare with the best so far, as long as its file is there."""
        if Path(state_dict["best_model_path"]).is_file():
            super().load_state_dict({**state_dict, "dirpath": self.dirpath})


def best_and_last(monitor: str | None) -> BestAndLast:
    """The callback that keeps the best checkpoint by `monitor` (more is better) and the last.

    Without a monitor the newest checkpoint is the best.
    """
    if monitor is None:
        return BestAndLast(filename="best-{epoch}", save_last=True)
    name = f"best-{{epoch}}-{{{monitor}:.4f}}"
    return BestAndLast(filename=name, monitor=monitor, mode="max", save_last=True)


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
