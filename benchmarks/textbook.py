"""What tutorials show: torchvision's MNIST, a DataLoader, nn.Sequential, a LightningModule.

    python benchmarks/textbook.py --data_root data --max_epochs 1

The network, batch size, optimizer and learning rate are flags; everything else is the libraries'
default.
"""

import argparse
import logging
import tempfile
import time
import warnings
from typing import Any

import torch
from clocks import EpochClock
from torch import Tensor, nn
from torch.utils.data import DataLoader

from torchmlp._compat.lightning import pl
from torchmlp.data import import_torchvision


class Textbook(pl.LightningModule):
    """784-width-10 with ReLU and cross-entropy, each loss logged."""

    def __init__(self, width: int, optimizer: str, lr: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10)
        )
        self.optimizer, self.lr = optimizer, lr

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch, logged."""
        del batch_idx
        images, labels = batch
        loss = nn.functional.cross_entropy(self.net(images), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer by its name in torch.optim."""
        make: Any = getattr(torch.optim, self.optimizer)
        optimizer: torch.optim.Optimizer = make(self.parameters(), lr=self.lr)
        return optimizer


class Accuracy(pl.Callback):
    """Stops the run at a test accuracy, looked at every so many steps; looking is not timed."""

    def __init__(self, images: Tensor, labels: Tensor, target: float, every: int) -> None:
        self.images, self.labels, self.target, self.every = images, labels, target, every
        self.looking, self.reached = 0.0, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        del trainer, pl_module
        self.start = time.perf_counter()

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look."""
        del outputs, batch, batch_idx
        if trainer.global_step % self.every:
            return
        before = time.perf_counter()
        right = pl_module.net(self.images).argmax(-1) == self.labels
        self.accuracy = float(right.float().mean())
        self.seconds = before - self.start - self.looking
        self.looking += time.perf_counter() - before
        self.reached = self.accuracy >= self.target
        trainer.should_stop = self.reached


def main() -> None:
    """Train; with --target print the seconds to a test accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--optimizer", default="Adam")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--max_epochs", type=int, default=1)
    parser.add_argument("--max_seconds", type=float)
    parser.add_argument("--target", type=float)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    pl.seed_everything(options.seed, verbose=False)
    torchvision = import_torchvision()
    mean, std = 0.1307, 0.3081
    transforms = torchvision.transforms
    both = transforms.Compose([transforms.ToTensor(), transforms.Normalize((mean,), (std,))])
    train = torchvision.datasets.MNIST(options.data_root, train=True, transform=both)
    loader = DataLoader(train, options.batch_size, shuffle=True)
    callbacks: list[pl.Callback] = [EpochClock()]
    if options.target:
        test = torchvision.datasets.MNIST(options.data_root, train=False)
        images = (test.data / 255 - mean) / std
        look = Accuracy(images, test.targets, options.target, every=50)
        callbacks.append(look)
    with tempfile.TemporaryDirectory() as folder:
        limit = {"seconds": int(options.max_seconds)} if options.max_seconds else None
        trainer = pl.Trainer(
            max_epochs=options.max_epochs,
            max_time=limit,
            accelerator="cpu",
            callbacks=callbacks,
            default_root_dir=folder,
        )
        trainer.fit(Textbook(options.width, options.optimizer, options.lr), loader)
    if options.target:
        verdict = "reached" if look.reached else "not reached, last"
        print(f"TARGET {verdict} {look.accuracy:.4f} {look.seconds:.2f} s")


if __name__ == "__main__":
    main()
