"""Models that a map can be made of, each with something the matter."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchmlp import Classifier
from torchmlp._compat.lightning import pl


class KilledOnce(Classifier):
    """Kills the process that first makes one of this width."""

    def __init__(self, folder: str, width: int, hidden: Any = (8,), init: str = "auto") -> None:
        super().__init__(hidden=hidden, init=init)
        mark = Path(folder) / str(os.getpid())
        if list(hidden) == [width] and not list(Path(folder).iterdir()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class AlwaysKilled(Classifier):
    """Kills every process that makes one, and leaves a file for each."""

    def __init__(self, folder: str, hidden: Any = (8,)) -> None:
        super().__init__(hidden=hidden)
        (Path(folder) / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)


class Waits(Classifier):
    """Says who makes it, and takes a minute."""

    def __init__(self, folder: str, hidden: Any = (8,)) -> None:
        super().__init__(hidden=hidden)
        (Path(folder) / str(os.getpid())).touch()
        time.sleep(60)


class Fails(Classifier):
    """Cannot be made."""

    def __init__(self, hidden: Any = (8,)) -> None:
        del hidden
        raise OSError("the disk is on fire")


class Noisy(pl.LightningModule):
    """One layer of units and dropout, by torch's modules, that is nothing but its training step."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, 10)
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images / 255)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Shapeless(Noisy):
    """Gives one number for a sample."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, 0]

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss: Tensor = self(batch[0]).square().mean()
        return loss


class ToldByThreads(Noisy):
    """Its loss is the number of threads."""

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        nothing: Tensor = 0.0 * self(batch[0]).sum()
        return nothing + torch.get_num_threads()


class ToldByEnvironment(Noisy):
    """Its loss is the number of threads that the environment asks for."""

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        nothing: Tensor = 0.0 * self(batch[0]).sum()
        return nothing + float(os.environ["OMP_NUM_THREADS"])


class NoHidden(pl.LightningModule):
    """Has no widths to choose."""

    def __init__(self, units: int = 8) -> None:
        super().__init__()
        self.units = units
