"""When a run ends before its epochs, steps or time are up."""

import math
from typing import Any, Literal

from torch import Tensor

from torchmlp._compat.lightning import pl


class Stopping(pl.Callback):
    """Ends the run on a metric that stands still, a target accuracy or a loss without change.

    Epochs, steps and time are the trainer's max_epochs, max_steps and max_time. All conditions are
    looked at once per epoch; the first that is met ends the run.

    Args:
        patience: epochs without improvement of `monitor` after which to stop; None for never. With
            check_val_every_n_epoch it is validations that count.
        monitor: any logged metric.
        mode: "max" if more is better, "min" if less is; "auto" takes "max" for an accuracy.
        min_improvement: how much better than the best is an improvement, in the metric's units.
        target_accuracy: stop as soon as `val_accuracy` is at least this; None for never.
        unchanged_loss: stop when the epoch's mean `train_loss` differs from the last epoch's by
            less than this, in nats (cross_entropy, bce) or squared units (mse); None for never.

    Raises:
        ValueError: patience below 1, a target accuracy outside 0..1, or a metric that is not logged
            (at the end of the first epoch; the message lists what is logged); a run that these
            conditions have ended is resumed with the same ones.
    """

    def __init__(
        self,
        patience: int | None = None,
        monitor: str = "val_loss",
        mode: Literal["auto", "min", "max"] = "auto",
        min_improvement: float = 0.0,
        target_accuracy: float | None = None,
        unchanged_loss: float | None = None,
    ) -> None:
        if patience is not None and patience < 1:
            raise ValueError(f"patience: expected at least 1 epoch, got {patience}")
        if target_accuracy is not None and not 0 < target_accuracy <= 1:
            raise ValueError(
                f"target_accuracy: expected a share in 0 < target <= 1, got {target_accuracy}"
            )
        self.patience, self.monitor, self.min_improvement = patience, monitor, min_improvement
        self.target_accuracy, self.unchanged_loss = target_accuracy, unchanged_loss
        self.sign = 1 if mode == "max" or (mode == "auto" and "acc" in monitor) else -1
        self.best, self.waited, self.last_loss = -math.inf, 0, math.inf
        self.reason, self._validated = "", False
        self._conditions = [patience, monitor, self.sign, min_improvement]
        self._conditions += [target_accuracy, unchanged_loss]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse to go on where a resumed run has been ended."""
        del trainer, pl_module
        if self.reason:
            raise ValueError(
                f"checkpoint of a finished run: {self.reason}; to go on give it other conditions "
                f"(--stop.patience, --stop.target_accuracy, --stop.unchanged_loss)"
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take note that this epoch has validation metrics of its own."""
        del pl_module
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the epoch's metrics; Lightning calls this after validation."""
        del pl_module
        self.reason = (
            self._out_of_patience(trainer) or self._on_target(trainer) or self._unchanged(trainer)
        )
        self._validated = False
        if self.reason:
            trainer.should_stop = True

    def _waits_for_validation(self, trainer: pl.Trainer, name: str) -> bool:
        """Whether a metric is that of an earlier epoch, for not every epoch validates."""
        seldom = trainer.check_val_every_n_epoch != 1
        return name.startswith("val") and seldom and not self._validated

    def _out_of_patience(self, trainer: pl.Trainer) -> str:
        if self.patience is None or self._waits_for_validation(trainer, self.monitor):
            return ""
        score = self.sign * float(_metric(trainer, self.monitor))
        if score > self.best + self.min_improvement:
            self.best, self.waited = score, 0
        else:
            self.waited += 1
        if self.waited < self.patience:
            return ""
        return f"{self.monitor} has not improved for {self.patience} epochs"

    def _on_target(self, trainer: pl.Trainer) -> str:
        if self.target_accuracy is None or self._waits_for_validation(trainer, "val_accuracy"):
            return ""
        accuracy = _metric(trainer, "val_accuracy")
        if bool(accuracy < self.target_accuracy):  # in the metric's precision: 0.9 reaches 0.9
            return ""
        return f"val_accuracy {float(accuracy):.4f} has reached {self.target_accuracy}"

    def _unchanged(self, trainer: pl.Trainer) -> str:
        if self.unchanged_loss is None:
            return ""
        loss = float(_metric(trainer, "train_loss"))
        change, self.last_loss = abs(loss - self.last_loss), loss
        return f"train_loss changed by {change:.1e}" if change < self.unchanged_loss else ""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on counting."""
        return {
            "best": self.best,
            "waited": self.waited,
            "last_loss": self.last_loss,
            "validated": self._validated,
            "reason": self.reason,
            "conditions": self._conditions,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.best, self.last_loss = state_dict["best"], state_dict["last_loss"]
        self.waited = int(state_dict["waited"])
        self._validated = state_dict.get("validated", False)
        same = state_dict.get("conditions") == self._conditions
        self.reason = state_dict["reason"] if same else ""


def _metric(trainer: pl.Trainer, name: str) -> Tensor:
    metrics = trainer.callback_metrics
    if name not in metrics:
        raise ValueError(
            f"stopping: expected a logged metric, got {name!r}; logged are "
            + ", ".join(sorted(metrics))
        )
    return metrics[name]
