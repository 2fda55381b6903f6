"""What HealthMonitor adds to a training step: blocks of steps with and without it, in turns.

python benchmarks/monitor.py [--rounds N] writes results/monitor.csv.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import torch
from problem import Problem
from runs import machine, rewrite

from torchmlp import MLP
from torchmlp.diagnosis.monitor import HealthMonitor
from torchmlp.diagnosis.record.record import Design, Record
from torchmlp.lightning.engine_adapter import EngineAdapter

CASES = (("784-256-10", 128), ("784-128-10", 32), ("64-32-10", 32), ("16-8-4", 8))
BLOCK_S = 0.25  # long enough for several samples


@dataclass(frozen=True)
class Row:
    """One network's step with the monitor, over the step without."""

    network: str
    batch: int
    threads: int
    ratio: float
    p25: float
    p75: float
    step_us: float
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def trainings(problem: Problem) -> tuple[EngineAdapter, EngineAdapter]:
    """The same training without and with somebody who watches."""
    made = []
    for _ in range(2):
        first, *hidden, last = problem.sizes
        mlp = MLP(first, hidden, last)
        made.append(EngineAdapter(mlp, "cross_entropy", torch.optim.SGD(mlp.parameters(), lr=0.01)))
    monitor = HealthMonitor()
    monitor.watch(Record(Design()))
    made[1].watcher = monitor.see_engine
    return made[0], made[1]


def measure(network: str, batch: int, rounds: int) -> Row:
    """The ratio, by turns."""
    problem = Problem(network, batch)
    data = torch.from_numpy(problem.x), torch.from_numpy(problem.target)
    plain, watched = trainings(problem)
    for training in (plain, watched):
        block(training, data, 200)
    steps = max(int(BLOCK_S / block(plain, data, 200)), 200)
    ratios, seconds = [], []
    for _ in range(rounds):
        seconds.append(block(plain, data, steps))
        ratios.append(block(watched, data, steps) / seconds[-1])
    low, _, high = quantiles(ratios, n=4)
    return Row(
        network,
        batch,
        torch.get_num_threads(),
        round(median(ratios), 4),
        round(low, 4),
        round(high, 4),
        round(1e6 * median(seconds), 1),
        **machine(),
    )


def block(training: EngineAdapter, data: tuple[torch.Tensor, torch.Tensor], steps: int) -> float:
    """Seconds that a step takes, over so many."""
    start = time.perf_counter()
    for _ in range(steps):
        training.step(data)
    spent = time.perf_counter() - start
    return spent / steps


def main() -> None:
    """Measure all cases and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=16)
    options = parser.parse_args()
    rows = []
    for network, batch in CASES:
        rows.append(measure(network, batch, options.rounds))
        row = rows[-1]
        print(
            f"{network}, B {batch}: {row.ratio:.3f} ({row.p25:.3f} to {row.p75:.3f}) of "
            f"{row.step_us:.0f} us"
        )
    rewrite(Path(__file__).with_name("results") / "monitor.csv", rows)


if __name__ == "__main__":
    main()
