"""Checkpoints: whole or not at all, kept when a run is interrupted, found again by a short name."""

import os
import signal
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from torchmlp._compat.lightning import pl
from torchmlp._runtime.interruption import Interrupted, Interruption
from torchmlp._runtime.sealed_file import DamagedFileError, is_whole, load_sealed, save_sealed
from torchmlp.nn.state_dicts import weights_in

from pytorch_lightning.trainer.connectors.signal_connector import (  # isort: skip  after pl
    _SignalConnector as SignalConnector,
)

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
    """Ends a run that Ctrl-C or SIGTERM interrupts after the batch, and saves what it has learned.

    Under several processes all of them end after the same batch, whichever heard of it.

    Args:
        interruption: hears the signals; None leaves them to Lightning and whoever else.

    Attributes:
        saved: the file, or None.
        has_ended: the folder of the checkpoints of a training that has come to its end, or None.
    """

    def __init__(self, interruption: Interruption | None = None) -> None:
        self.interruption = interruption or Interruption()
        self._hears = interruption is not None
        self.saved: Path | None = None
        self.has_ended: Path | None = None

    def setup(self, trainer: Any, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the place of Lightning's handlers, before it sets them."""
        del pl_module, stage
        if self._hears and not isinstance(trainer._signal_connector, _Signals):
            trainer._signal_connector = _Signals(trainer, self.interruption)
            # Lightning's word to the other processes at every batch: `_Signals` has its own.
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on a signal waits for the end of a batch."""
        del trainer, pl_module
        self.interruption.waits = True
        self.interruption.look()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A signal that came with the last batch finds a run that is finished."""
        del pl_module
        callback = trainer.checkpoint_callback
        if isinstance(callback, pl.callbacks.ModelCheckpoint) and callback.dirpath:
            self.has_ended = Path(callback.dirpath)
        self.interruption.waits = False
        self.interruption.look()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save `interrupted.ckpt` beside the run's other checkpoints."""
        del pl_module
        try:
            if isinstance(exception, Interrupted):
                return  # what was broken off is not between two batches
            if isinstance(exception, KeyboardInterrupt | SystemExit):
                self._save(trainer)
        finally:
            self.interruption.waits = False

    def _save(self, trainer: pl.Trainer) -> None:
        callback = trainer.checkpoint_callback
        if trainer.state.fn != "fit" or trainer.global_step == 0:
            return
        if not isinstance(callback, pl.callbacks.ModelCheckpoint) or not callback.dirpath:
            return
        path = Path(callback.dirpath) / INTERRUPTED
        trainer.save_checkpoint(path)
        self.saved = path


class _Signals(SignalConnector):
    """Lightning's signals without SIGTERM: its handler talks to other processes where it stands."""

    def __init__(self, trainer: Any, interruption: Interruption) -> None:
        self.interruption = interruption
        super().__init__(trainer)

    def register_signal_handlers(self) -> None:
        """All but that of SIGTERM."""
        before = signal.getsignal(signal.SIGTERM)
        super().register_signal_handlers()
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)

    @property
    def received_sigterm(self) -> bool:
        """Whether a run ends here: Lightning asks after each batch and each epoch.

        A validation is not cut, and a run that ends anyway is let do so.
        """
        trainer = self.trainer
        if not trainer.training or _is_over(trainer):
            return False
        number = self.interruption.number or 0
        if trainer.world_size > 1:
            agreed = torch.tensor(number, device=trainer.strategy.root_device)
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX)
            number = int(agreed)
        if number and self.interruption.number is None:
            self.interruption.number = number
        return bool(number)

    @received_sigterm.setter
    def received_sigterm(self, received: bool) -> None:
        """Lightning's own note of it."""


def _is_over(trainer: Any) -> bool:
    loop = trainer.fit_loop
    limits = (
        (loop.epoch_progress.current.processed, loop.max_epochs),
        (loop.epoch_loop.global_step, loop.max_steps),
    )
    reached = any(most not in (None, -1) and done >= most for done, most in limits)
    return reached or (trainer.should_stop and loop._can_stop_early)


class BestAndLast(pl.callbacks.ModelCheckpoint):
    """Keeps the best checkpoint and that of the last epoch; a resumed run goes on looking.

    Lightning's own writes last.ckpt only beside a new best, some of them at a validation, with the
    end of the epoch still to come; and it forgets the best of the part before the cut, for the
    resumed run has another folder.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best, if this epoch is, and the last, whose epoch is over."""
        super().on_train_epoch_end(trainer, pl_module)
        saved_here = self._should_save_on_train_epoch_end(trainer)
        if not saved_here or self._last_global_step_saved != trainer.global_step:
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
