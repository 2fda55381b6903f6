"""Which checkpoints a run keeps: the best and the last."""

from pathlib import Path
from typing import Any

from torchmlp._compat.lightning import pl
from torchmlp._compat.lightning_internals import (
    save_last,
    saves_at_epoch_end,
    step_of_last_save,
)


class BestAndLast(pl.callbacks.ModelCheckpoint):
    """Keeps the best checkpoint and that of the last epoch; a resumed run goes on looking.

    Lightning's own writes last.ckpt only beside a new best, some of them at a validation, with the
    end of the epoch still to come; and it forgets the best of the part before the cut, for the
    resumed run has another folder.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best, if this epoch is, and the last, whose epoch is over."""
        super().on_train_epoch_end(trainer, pl_module)
        saved_here = saves_at_epoch_end(self, trainer)
        if not saved_here or step_of_last_save(self) != trainer.global_step:
            save_last(self, trainer)

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
