"""The learning rate over a run, and how an optimizer and a scheduler are handed to Lightning."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CyclicLR,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
)

from torchmlp._compat.lightning import pl


class OneCycle(LambdaLR):
    """One cycle: up from lr / 25 to the optimizer's own lr, down to nearly nothing, by cosines.

    The optimizer's learning rate is the peak, and the length of the run is asked of the trainer
    when the run starts: changing epochs or batch size leaves nothing else to adapt. Stepped once
    per batch.

    Args:
        optimizer: its lr is the peak.
        warmup: share of the run in which the rate rises, 0 <= warmup < 1.
        total_steps: length of the run in optimizer steps; None asks the trainer.
        last_epoch: torch's name for the last step taken; -1 starts.

    Raises:
        ValueError: a warmup outside 0 <= warmup < 1.

    Source: Smith & Topin (2018); the factors 25 and 1e4 are those of torch's OneCycleLR.
    """

    START = 1 / 25
    END = START / 1e4

    def __init__(
        self,
        optimizer: Optimizer,
        warmup: float = 0.3,
        total_steps: int | None = None,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"OneCycle: expected 0 <= warmup < 1, got {warmup}")
        self.warmup, self.total_steps = warmup, total_steps
        super().__init__(optimizer, self.factor, last_epoch)

    def factor(self, step: int) -> float:
        """What the peak is multiplied by at a step, from 0."""
        if self.total_steps is None:
            return self.START
        last = self.total_steps - 1
        peak = self.warmup * last
        if step < peak:
            return _cosine(self.START, 1.0, step / peak)
        fallen = (step - peak) / (last - peak) if last else 0.0
        return _cosine(1.0, self.END, min(fallen, 1.0))

    def set_length(self, total_steps: int) -> None:
        """Tell a scheduler that was made without it the length of the run; nothing is stepped."""
        self.total_steps = total_steps
        for group, peak in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = peak * self.factor(self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """All but the run's length: a resumed run asks its own trainer for that."""
        state: dict[str, Any] = super().state_dict()
        state["lr_lambdas"] = [None] * len(self.lr_lambdas)  # a method: it has no state of its own
        return {key: value for key, value in state.items() if key != "total_steps"}


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def for_lightning(
    module: pl.LightningModule, optimizer: Optimizer, scheduler: LRScheduler | None
) -> Any:
    """What LightningModule.configure_optimizers returns for an optimizer and a scheduler.

    Schedulers that count steps are stepped once per batch, the others once per epoch.

    Raises:
        ValueError: OneCycle in a run without an end.
    """
    if scheduler is None:
        return optimizer
    if isinstance(scheduler, OneCycle) and scheduler.total_steps is None:
        steps = module.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise ValueError(
                "OneCycle: expected a run with an end, got max_epochs=-1 and max_steps=-1; "
                "set one of them or choose another --lr_scheduler"
            )
        scheduler.set_length(int(steps))
    entry: dict[str, Any] = {"scheduler": scheduler, "interval": "epoch"}
    if isinstance(scheduler, (OneCycle, OneCycleLR, CyclicLR)):
        entry["interval"] = "step"
    if isinstance(scheduler, ReduceLROnPlateau):
        entry["monitor"] = getattr(scheduler, "monitor", "val_loss")
    return {"optimizer": optimizer, "lr_scheduler": entry}
