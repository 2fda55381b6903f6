"""How long does a small table take to be learned, beside scikit-learn's MLPClassifier?

    python benchmarks/small_table.py

1000 samples of 20 numbers and 3 classes; 100 hidden units, Adam, ten epochs of shuffled minibatches
of 200, float32: the classifier's defaults but for alpha 0 and the number of epochs. A turn is a
whole fit, of a network that is made anew. Every fit is told beside the accuracy on the table that
it ends with, which has to be scikit-learn's to a few samples in a hundred.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  its name everywhere
from other_steps import BATCH, EPOCHS, learnable_table
from problem import Problem
from remote import Peers, Remote
from timing import compare, rows_of, write
from torch import Tensor, nn

from torchmlp import MLP, Engine

TABLE = Path(__file__).parent / "results" / "small_table.csv"
PROBLEM = Problem("20-100-3", 1000, "adam")
PEER = "scikit-learn MLPClassifier"
ENGINE_COMPILED = "engine (C++)"
WORSE = 0.05  # than scikit-learn's accuracy, at most
Outputs = Callable[[Tensor], Tensor]  # what a fit gives


def engine(x: Tensor, target: Tensor, *, native: bool) -> Outputs:
    """Ten epochs by the engine."""
    model = MLP(
        PROBLEM.sizes[0], PROBLEM.sizes[1:-1], PROBLEM.sizes[-1], init="xavier"
    )  # as scikit-learn
    steps = Engine(model, "cross_entropy", torch.optim.Adam(model.parameters()), native=native)
    for _ in range(EPOCHS):
        steps.epoch(x, target, BATCH, torch.randperm(len(x)))
    return model


def autograd(x: Tensor, target: Tensor) -> Outputs:
    """Ten epochs of nn.Sequential with fused Adam."""
    sizes = PROBLEM.sizes
    model = nn.Sequential(nn.Linear(sizes[0], sizes[1]), nn.ReLU(), nn.Linear(sizes[1], sizes[2]))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):  # type: ignore[no-untyped-call]  # torch declares no types
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), target[rows]).backward()  # type: ignore[no-untyped-call]  # torch declares no types
            optimizer.step()
    return model


def accuracy(outputs: Outputs, x: Tensor, target: Tensor) -> float:
    """Share of the table that is right."""
    with torch.no_grad():
        return float((outputs(x).argmax(1) == target).float().mean())


def main() -> None:
    """Time whole fits, print and keep the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--table", type=Path, default=TABLE, help="the CSV file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    peers = Peers()
    if lacking := peers.missing("sklearn", "adam"):
        raise SystemExit(f"small_table.py: {lacking} is not installed")
    x, target = map(torch.from_numpy, learnable_table(PROBLEM))
    fits: dict[str, Callable[[], Outputs]] = {
        ENGINE_COMPILED: partial(engine, x, target, native=True),
        "engine (torch)": partial(engine, x, target, native=False),
        "nn.Sequential + fused Adam": partial(autograd, x, target),
    }
    remote = Remote("sklearn fit", PROBLEM, options.threads, rate=1e-3, python=peers.python)
    try:
        w1, b1, w2, b2 = map(torch.from_numpy, remote.parameters_after(1, 1e-3))
        reached = {PEER: accuracy(lambda x: (x @ w1.T + b1).relu() @ w2.T + b2, x, target)}
        reached |= {name: accuracy(fit(), x, target) for name, fit in fits.items()}
        check(reached)
        seconds = compare({PEER: remote, **fits}, options.rounds)
    finally:
        remote.close()
    libraries = {PEER: peers.names_and_versions("sklearn", "adam")}
    rows = rows_of(
        "small table", PROBLEM.network, BATCH, options.threads, seconds, PEER, libraries,
        optimizer="adam", compiled={ENGINE_COMPILED},
    )  # fmt: skip
    for row in rows:
        spread = f"{row.ratio_p25:.2f}..{row.ratio_p75:.2f}"
        print(
            f"{row.provider:<30}{row.median_us / 1e3:>9.1f} ms{row.ratio_median:>8.2f}{spread:>14}"
            f"   accuracy {reached[row.provider]:.3f}"
        )
    write(options.table, rows)


def check(reached: dict[str, float]) -> None:
    """Compare what the fits have learned.

    Raises:
        RuntimeError: one has learned less than scikit-learn: its time would be that of another fit.
    """
    for name, share in reached.items():
        if share < reached[PEER] - WORSE:
            raise RuntimeError(
                f"{name}: accuracy {share:.3f}, expected {reached[PEER]:.3f}, as scikit-learn's"
            )


if __name__ == "__main__":
    main()
