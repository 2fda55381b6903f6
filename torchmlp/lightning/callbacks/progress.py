"""What a run shows while it goes on: a bar in a terminal, a line per epoch in a pipe."""

import time

from torchmlp._compat.lightning import pl


def progress(in_terminal: bool) -> pl.Callback:
    """The bar for a terminal, the lines for anything else."""
    return pl.callbacks.RichProgressBar(leave=False) if in_terminal else EpochLines()


class EpochLines(pl.Callback):
    """Prints a line with the metrics of every epoch."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self.start = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line; Lightning calls this after validation."""
        del pl_module
        if not trainer.is_global_zero:
            return
        shown = ("train_loss", "val_loss", "val_accuracy")
        metrics = trainer.callback_metrics
        values = "  ".join(f"{name} {metrics[name]:.4f}" for name in shown if name in metrics)
        seconds = time.monotonic() - self.start
        print(f"epoch {trainer.current_epoch}  {values}  {seconds:.0f} s", flush=True)  # noqa: T201
