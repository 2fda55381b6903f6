"""What a finished command prints and writes."""

import csv
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchmlp._compat.lightning import pl
from torchmlp._runtime.atomic_file import atomic_writer
from torchmlp.cli.terminal.streams import say
from torchmlp.lightning.datamodule import ImageDataModule


def measured_on(data: pl.LightningDataModule | None, stage: str) -> str:
    """The data that a figure was measured on: "10000 test images of MNIST"."""
    if not isinstance(data, ImageDataModule):
        return type(data).__name__ if data else "the model's own data"
    count = data.count("val" if stage == "validate" else "test")
    part = "validation" if stage == "validate" else "test"
    return f"{count} {part} images of {data.title}"


def print_metrics(metrics: dict[str, float], data: str) -> None:
    """One line per metric, the accuracy first, and with it the data it was measured on."""
    first, *rest = sorted(metrics, key=lambda name: "accuracy" not in name)
    say(f"{first.replace('_', ' ')} {metrics[first]:.4f} on {data}")
    for name in rest:
        say(f"{name.replace('_', ' ')} {metrics[name]:.4f}")


def write_predictions(path: Path, probabilities: Tensor, classes: tuple[str, ...]) -> None:
    """Write one row per image: its index, the most probable class, each class's probability."""
    with atomic_writer(path) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(["index", "prediction", *(f"p({name})" for name in classes)])
        for index, row in enumerate(probabilities.tolist()):
            best = max(range(len(row)), key=row.__getitem__)
            writer.writerow([index, classes[best], *(f"{p:.6g}" for p in row)])
        text.detach()  # flushed, and left open


def summary(cli: Any, metrics: dict[str, float], seconds: float, checkpoint: str) -> dict[str, Any]:
    """What summary.json holds."""
    data = cli.datamodule
    return {
        "data": data.title if isinstance(data, ImageDataModule) else type(data).__name__,
        "source": getattr(data, "source", None),
        **metrics,
        "trained_by": getattr(cli.model, "trained_by", "its own training_step"),
        "epochs": cli.trainer.current_epoch,
        "steps": cli.trainer.global_step,
        "training_seconds": round(seconds, 2),
        "checkpoint": checkpoint,
        "device": str(cli.trainer.strategy.root_device),
        "torch": torch.__version__,
        "pytorch_lightning": version("pytorch-lightning"),
    }


def short_path(path: str | Path) -> str:
    """The path from here where it lies below, else whole."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
