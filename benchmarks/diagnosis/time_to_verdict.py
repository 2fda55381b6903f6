"""Seconds to a diagnosis, remedies tried, of 784-1000-10 on digits.

python benchmarks/diagnosis/time_to_verdict.py writes results/time_to_verdict.csv.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import nn

from torchmlp import MLP, diagnose
from torchmlp.data.images.embedded import read_embedded

sys.path.insert(0, str(Path(__file__).parents[1]))
from runs import machine, rewrite

ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """One run's diagnosis."""

    run: str
    batch: int
    named: str
    seconds: float
    fastest: float
    slowest: float
    threads: int
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def pixels() -> tuple[torch.Tensor, torch.Tensor]:
    """The digits that ship, 0..1."""
    images = read_embedded()
    return images.train_images.flatten(1).float() / 255, images.train_labels


Made = tuple[nn.Module, float, tuple[torch.Tensor, torch.Tensor]]


def runs() -> dict[str, Callable[[], Made]]:
    """Model, rate and data of each."""
    x, labels = pixels()
    return {
        "healthy": lambda: (MLP(784, 1000, 10), 0.1, (x, labels)),
        "softmax before cross-entropy": lambda: (
            nn.Sequential(nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 10), nn.Softmax(1)),
            0.1,
            (x, labels),
        ),
        "pixels to 255": lambda: (MLP(784, 1000, 10), 0.1, (255 * x, labels)),
        "weights from U(0, 1)": lambda: (
            MLP(784, 1000, 10, "sigmoid", init="uniform(0, 1)"),
            0.1,
            (x, labels),
        ),
        "rate 30": lambda: (MLP(784, 1000, 10), 30.0, (x, labels)),
        "rate 1e-5": lambda: (MLP(784, 1000, 10), 1e-5, (x, labels)),
    }


def measure(name: str, make: Callable[[], Made], batch: int) -> Row:
    """Diagnose it some times."""
    seconds = []
    named = ""
    for seed in range(ROUNDS):
        torch.manual_seed(seed)
        model, rate, data = make()
        sgd = torch.optim.SGD(model.parameters(), lr=rate)
        start = time.perf_counter()
        report = diagnose(model, nn.CrossEntropyLoss(), sgd, data, batch_size=batch)
        seconds.append(round(time.perf_counter() - start, 2))
        named = " ".join(finding.cause for finding in report.findings)
    limits = median(seconds), min(seconds), max(seconds)
    return Row(name, batch, named, *limits, torch.get_num_threads(), **machine())


def main() -> None:
    """Measure all and write them."""
    rows = []
    for batch in (32, 128):
        for name, make in runs().items():
            rows.append(measure(name, make, batch))
            row = rows[-1]
            print(
                f"{name}, B {batch}: {row.seconds} s ({row.fastest} to {row.slowest}), {row.named}"
            )
    rewrite(Path(__file__).parents[1] / "results" / "time_to_verdict.csv", rows)


if __name__ == "__main__":
    main()
