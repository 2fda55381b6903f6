"""Seconds of CPU and of the clock that each training epoch under Lightning takes.

The epoch is all that happens in it: batches, log rows, validation, checkpoints.
"""

import json
import time

from torchmlp._compat.lightning import pl


class EpochClock(pl.Callback):
    """Prints `EPOCH {"cpu_s": ..., "wall_s": ..., "validation_cpu_s": ..., "steps": ...}`."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks."""
        del pl_module
        self.step = trainer.global_step
        self.validation = 0.0
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the validation's clock."""
        del trainer, pl_module
        self.validation_start = time.process_time()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop it."""
        del trainer, pl_module
        self.validation = time.process_time() - self.validation_start

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clocks; a checkpoint of the epoch is written after this, and is small."""
        del pl_module
        measured = {
            "cpu_s": time.process_time() - self.cpu,
            "wall_s": time.perf_counter() - self.wall,
            "validation_cpu_s": self.validation,
            "steps": trainer.global_step - self.step,
        }
        print("EPOCH", json.dumps(measured), flush=True)
