"""Stop a run whose loss is nan or infinite."""

import math
from typing import Any

import torch
from torch import Tensor

from torchmlp._compat.lightning import pl

LOOK_EVERY = 50  # Lightning's own default for log_every_n_steps


class NonFiniteLossError(RuntimeError):
    """The run is numerically sick."""


class TerminateOnNonFinite(pl.Callback):
    """Raises `NonFiniteLossError` when the training loss is nan or infinite.

    On a CPU every step is looked at; elsewhere one in `LOOK_EVERY` and an epoch's last, for a look
    waits for the device.
    """

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at the loss that training_step returned."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
            return
        seldom = loss.device.type != "cpu" and batch_idx % LOOK_EVERY != 0
        if seldom and not trainer.is_last_batch:
            return
        if math.isfinite(float(loss)) if loss.ndim == 0 else bool(torch.isfinite(loss).all()):
            return
        raise of_loss(loss, trainer, pl_module, batch)


def of_loss(
    loss: Tensor, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any
) -> NonFiniteLossError:
    """What is raised for a loss that is not finite: step, epoch, and what may help."""
    inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
    sick_input = isinstance(inputs, Tensor) and not bool(torch.isfinite(inputs).all())
    rates = ", ".join(f"{group['lr']:.3g}" for o in trainer.optimizers for group in o.param_groups)
    step, epoch = trainer.global_step, pl_module.current_epoch
    where = f"the loss is {float(loss)} at step {step} (epoch {epoch})"
    if sick_input:
        why = "the batch holds values that are not finite; correct or leave out such samples"
    else:
        why = f"learning rate {rates}; a smaller one, another init or more precision may help"
    return NonFiniteLossError(f"{where}: {why}")
