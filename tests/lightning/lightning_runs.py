"""Small runs under Lightning: a quiet trainer, a module whose metrics are known beforehand."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from torchmlp._compat.lightning import pl
from torchmlp.data import Batches

# What Lightning makes torch say when it moves a batch to its device.
ignore_lightnings_own = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec")


def quiet_trainer(folder: Path, **settings: Any) -> pl.Trainer:
    """A trainer on the CPU that prints nothing and, unless told to, writes nothing."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "default_root_dir": folder,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{**quiet, **settings})


class Scripted(pl.LightningModule):
    """Logs the metrics it was given, one value per epoch; its one weight counts the epochs.

    Names that begin with "val" are logged in validation, the others in training.
    """

    def __init__(self, metrics: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.metrics = metrics
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Any) -> Tensor:
        del batch
        self._log_metrics(in_validation=False)
        return self.weight * 1.0

    def validation_step(self, batch: Any) -> None:
        del batch
        self._log_metrics(in_validation=True)

    def on_train_epoch_end(self) -> None:
        with torch.no_grad():
            self.weight.add_(1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def _log_metrics(self, *, in_validation: bool) -> None:
        for name, values in self.metrics.items():
            if name.startswith("val") == in_validation:
                self.log(name, values[self.current_epoch], on_epoch=True, on_step=False)


def one_batch() -> Batches:
    """A loader of one batch, for modules that do not look at it."""
    return Batches(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), 2)


class Given:
    """A loader of these batches; in a plain list Lightning would take each for a loader."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def blobs(count: int = 64, classes: int = 3, features: int = 6) -> tuple[Tensor, Tensor]:
    """Points around a centre per class, and their classes: what a small network learns."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(count) % classes
    centres = 2 * torch.randn(classes, features, generator=generator)
    return centres[labels] + torch.randn(count, features, generator=generator), labels


class Recorder(pl.Callback):
    """Keeps the learning rates and batches that training has seen."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.batches: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        del pl_module, batch_idx
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.batches.append(batch)
