"""A checkpoint when a run is interrupted."""

import signal
import threading
import warnings
from pathlib import Path
from typing import Any

import torch

from torchmlp._compat.lightning import pl
from torchmlp._compat.lightning_internals import (
    SignalConnector,
    can_stop_early,
    no_signals,
    set_signal_connector,
    signal_connector_of,
)
from torchmlp._runtime.interruption import Interrupted, Interruption
from torchmlp.lightning.checkpoints.files import INTERRUPTED


class SaveWhenInterrupted(pl.Callback):
    """Ends a run that Ctrl-C or SIGTERM interrupts after the batch, and saves what it has learned.

    Under several processes all of them end after the same batch, whichever heard of it.

    Args:
        interruption: hears the signals; None leaves them to Lightning.

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
        if self._hears and (reason := no_signals(trainer)):
            self._hears = False
            warnings.warn(
                f"Ctrl-C ends this run without a checkpoint: {reason}", UserWarning, stacklevel=2
            )
        if self._hears and not isinstance(signal_connector_of(trainer), _Signals):
            set_signal_connector(trainer, _Signals(trainer, self.interruption))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on a signal waits for the end of a batch."""
        del trainer, pl_module
        self.interruption.waits = self._hears
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


class _Signals(SignalConnector):  # type: ignore[misc]  # object, where there is none
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
    return reached or (trainer.should_stop and can_stop_early(loop))
