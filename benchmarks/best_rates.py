"""Does the best learning rate stay where it is as the hidden layer is widened?

    python benchmarks/best_rates.py

784-N-10 on the embedded digits, logistic, Xavier, plain SGD, B = 64, 200 steps: for every width N
and rate, a factor of √2 apart, by squared error and by cross-entropy, under the standard
parametrization and under mup with base width 64. All rates and seeds of a width train as one
`Population`; the loss is the mean of the last twenty steps. The figure is of squared error's best
rates.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from runs import machine, rewrite

from torchmlp import Population
from torchmlp.data.batches.in_memory import Batches
from torchmlp.data.images.embedded import read_embedded
from torchmlp.data.labels import encode_targets
from torchmlp.figures.save import save
from torchmlp.figures.stability.best_lrs import best_rate_figure, best_rates
from torchmlp.stability.map.cell import Cell, CellResult

RESULTS = Path(__file__).parent / "results"
WIDTHS, SEEDS = (64, 128, 256, 512, 1024, 2048), (0, 1)
# 0.002 to 1, and 0.125 to 16.
LRS = {
    "mse": [2 ** (k / 2) for k in range(-18, 1)],
    "cross_entropy": [2 ** (k / 2) for k in range(-6, 9)],
}
BATCH_SIZE, STEPS, LAST, BASE = 64, 200, 20, 64


@dataclass(frozen=True)
class Row:
    """A width's loss at a rate, the mean over the seeds; nan where one broke."""

    objective: str
    parametrization: str
    width: int
    lr: float
    loss: float
    seeds: int
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def losses_of(width: int, loss: str, parametrization: str) -> dict[float, float]:
    """The loss after training, by rate."""
    digits = read_embedded()
    lrs = LRS[loss]
    runs = list(product(lrs, SEEDS))
    population = Population(
        784,
        [width],
        10,
        size=len(runs),
        activation="sigmoid",
        init="xavier",
        loss=loss,
        lr=[lr for lr, _ in runs],
        seeds=[seed for _, seed in runs],
        parametrization=parametrization,
        base_width=BASE,
    )
    batches = Batches(
        digits.train_images, digits.train_labels, BATCH_SIZE, shuffle=True, drop_last=True
    )
    total, step = torch.zeros(len(runs)), 0
    while step < STEPS:
        for x, target in batches:
            losses = population.step(x.flatten(1), encode_targets(target, loss, 10, torch.float32))
            step += 1
            if step > STEPS - LAST:
                total += losses
            if step == STEPS:
                break
    means = (total / LAST).reshape(len(lrs), len(SEEDS)).mean(1)
    return dict(zip(lrs, means.tolist(), strict=True))


def main() -> None:
    """Measure, write the table, draw the figure, and say how far the best rate moves."""
    rows, maps = [], {}
    for loss, parametrization in product(LRS, ("standard", "mup")):
        cells = []
        for width in WIDTHS:
            for lr, end in losses_of(width, loss, parametrization).items():
                cell = Cell(width, 1, BATCH_SIZE, lr, "xavier", 0)
                cells.append(CellResult(cell, "slow", None, None, end, None, None, None, 0.0))
                rows.append(Row(loss, parametrization, width, lr, end, len(SEEDS), **machine()))
        maps[loss, parametrization] = cells
        found = best_rates(cells)
        moved = max(found.values()) / min(found.values())
        print(f"{loss}, {parametrization}: moves by {moved:.3g};", end=" ")
        print(", ".join(f"{width}: {rate:.3g}" for width, rate in found.items()))
    rewrite(RESULTS / "best_rates.csv", rows)
    drawn = {kind: cells for (loss, kind), cells in maps.items() if loss == "mse"}
    save(best_rate_figure(drawn), RESULTS, "best_rates")


if __name__ == "__main__":
    main()
