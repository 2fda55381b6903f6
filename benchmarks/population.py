"""How much faster do many networks train as one than one after the other?

    python benchmarks/population.py                                 everything, 1 and 2 threads
    python benchmarks/population.py --networks 64-32-10 --threads 2 --rounds 10

One step of N networks of one shape on one batch, ReLU, plain SGD, float32: a Population in C++ and
in torch's batched products; a loop over N torch.nn.Sequential, zero_grad, loss, backward and fused
SGD each; and torch.func's vmap of grad over functional_call. What is written is the time in
multiples of the Population's in the same round. All are first compared with the loop, after three
steps. Each count of threads is measured in a process of its own.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  its name everywhere
from timing import Row, compare, rows_of, write
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from torchmlp import MLP, Population

TABLE = Path(__file__).parent / "results" / "population.csv"
# Network, batch, networks, and how many times faster than the loop it is meant to be.
CASES: dict[str, tuple[int, int, float]] = {
    "64-32-10": (32, 64, 50),
    "784-16-10": (32, 64, 20),
    "784-128-10": (32, 64, 6),
    "784-256-128-10": (128, 8, 2),
    "2-16-16-1": (32, 64, 60),
    "784-256-10": (32, 1, 1.8),
}
BASELINE = "population (C++)"
CHECKED_STEPS, RATE, TOLERANCE = 3, 1e-3, 1e-5


def loss_of(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of labels, or half the squared error."""
    if target.is_floating_point():
        return 0.5 * (output - target).square().sum(1).mean()
    return F.cross_entropy(output, target)


class Case:
    """N networks, their batch, and the ways to take a step of all of them."""

    def __init__(self, network: str, batch: int, size: int) -> None:
        torch.manual_seed(0)
        first, *hidden, last = (int(part) for part in network.split("-"))
        self.shape = (first, hidden, last)
        self.networks = [MLP(first, hidden, last) for _ in range(size)]
        self.x = torch.rand(batch, first)
        self.target = torch.randint(last, (batch,)) if last > 1 else torch.randn(batch, 1)
        self.loss = "cross_entropy" if last > 1 else "mse"

    def population(
        self, *, native: bool
    ) -> tuple[Callable[[], object], Callable[[], list[Tensor]]]:
        """A step, and the parameters of all networks, (N, ...) each."""
        first, hidden, last = self.shape
        size = len(self.networks)
        own = Population(first, hidden, last, size=size, loss=self.loss, lr=RATE)
        for i, network in enumerate(self.networks):
            own.load(i, network)
        before = os.environ.pop("TORCHMLP_NATIVE", None)
        os.environ["TORCHMLP_NATIVE"] = str(int(native))
        own.step(self.x, self.target)  # chooses its way, and is the first of the checked steps
        os.environ.pop("TORCHMLP_NATIVE")
        if before is not None:
            os.environ["TORCHMLP_NATIVE"] = before
        if own.is_native != native:
            raise RuntimeError(f"the step is taken otherwise: {own.how}")
        return lambda: own.step(self.x, self.target), lambda: own._stack.parameters  # noqa: SLF001  to be compared

    def loop(self) -> tuple[Callable[[], object], Callable[[], list[Tensor]]]:
        """The same, of separate trainings."""
        networks = [network.to_sequential() for network in self.networks]
        optimizers = [torch.optim.SGD(n.parameters(), lr=RATE, fused=True) for n in networks]

        def take() -> None:
            for network, optimizer in zip(networks, optimizers, strict=True):
                optimizer.zero_grad()
                loss_of(network(self.x), self.target).backward()  # type: ignore[no-untyped-call]
                optimizer.step()

        take()
        columns = zip(*(network.parameters() for network in networks), strict=True)
        columns_kept = [list(column) for column in columns]
        return take, lambda: [torch.stack([p.detach() for p in c]) for c in columns_kept]

    def vmap(self) -> tuple[Callable[[], object], Callable[[], list[Tensor]]]:
        """The same, by torch.func."""
        networks: list[nn.Module] = [network.to_sequential() for network in self.networks]
        stacked, _ = stack_module_state(networks)
        values = {name: p.detach() for name, p in stacked.items()}

        def loss(parameters: dict[str, Tensor], x: Tensor, target: Tensor) -> Tensor:
            return loss_of(functional_call(networks[0], parameters, (x,)), target)

        gradients = vmap(grad(loss), in_dims=(0, None, None))

        def take() -> None:
            for name, gradient in gradients(values, self.x, self.target).items():
                values[name].sub_(gradient, alpha=RATE)

        take()
        return take, lambda: list(values.values())


def measure(network: str, threads: int, rounds: int) -> list[Row]:
    """The rows of one case."""
    batch, size, wanted = CASES[network]
    case = Case(network, batch, size)
    ways = {
        BASELINE: case.population(native=True),
        "population (torch)": case.population(native=False),
        "loop of nn.Sequential": case.loop(),
        "vmap": case.vmap(),
    }
    for _ in range(CHECKED_STEPS - 1):
        for take, _ in ways.values():
            take()
    exact = ways["loop of nn.Sequential"][1]()
    for name, (_, parameters) in ways.items():
        for own, right in zip(parameters(), exact, strict=True):
            if not (error := float((own - right).norm() / right.norm())) < TOLERANCE:
                raise RuntimeError(f"{name}, {network}: {error:.1e} off")
    seconds = compare({name: take for name, (take, _) in ways.items()}, rounds, 0.05)
    rows = rows_of("population", f"{size} x {network}", batch, threads, seconds, BASELINE)
    print(f"\n{size} x {network}, B = {batch}, {threads} threads (wanted: {wanted:g})")
    for row in rows:
        spread = f"{row.ratio_p25:.2f}..{row.ratio_p75:.2f}"
        print(f"  {row.provider:<24}{row.ratio_median:>8.2f}{spread:>18}{row.median_us:>12.1f} us")
    sys.stdout.flush()
    return rows


def main() -> None:
    """Measure what was asked for, one process for each count of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20, help="at least 2")
    parser.add_argument("--table", type=Path, default=TABLE, help="the CSV file")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.one:
        for threads in options.threads:
            words = [sys.executable, __file__, *sys.argv[1:], "--threads", str(threads), "--one"]
            subprocess.run(words, check=True)
        return
    (threads,) = options.threads
    torch.set_num_threads(threads)
    for network in options.networks:
        write(options.table, measure(network, threads, options.rounds))


if __name__ == "__main__":
    main()
