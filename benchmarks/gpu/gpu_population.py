"""How much faster do many networks train as one than one after the other, on the device?

As benchmarks/population.py has it on a CPU: multiples of the population's time per step.
"""

from collections.abc import Callable

import gpu_rows
import torch
from on_device import DEVICE, IS_REHEARSAL, Clock, OnDevice, synchronize
from population import CASES, RATE, Case
from timing import compare

from torchmlp import Population

BASELINE = "population"
ROUNDS = 2 if IS_REHEARSAL else 8
STEPS, TOLERANCE = 3, 1e-4


class CaseOnDevice(Case):
    """The networks and their batch on the device."""

    def __init__(self, network: str, batch: int, size: int) -> None:
        super().__init__(network, batch, size)
        self.networks = [network.to(DEVICE) for network in self.networks]
        self.x, self.target = self.x.to(DEVICE), self.target.to(DEVICE)

    def as_one(self) -> tuple[Callable[[], object], Callable[[], list[torch.Tensor]]]:
        """A step of a Population, and its parameters."""
        first, hidden, last = self.shape
        size = len(self.networks)
        own = Population(first, hidden, last, size=size, loss=self.loss, lr=RATE, device=DEVICE)
        for i, network in enumerate(self.networks):
            own.load(i, network)
        own.step(self.x, self.target)
        parts = zip(own.weights, own.biases, strict=True)
        parameters = [p for pair in parts for p in pair]
        return lambda: own.step(self.x, self.target), lambda: parameters


def main() -> None:
    """Measure, as long as there is time."""
    clock = Clock()
    cases = dict([*CASES.items()][:1]) if IS_REHEARSAL else CASES
    for network, (batch, size, _) in cases.items():
        if clock.left() < 4:  # noqa: PLR2004  seconds
            print("  out of time")
            return
        count = min(size, 4) if IS_REHEARSAL else size
        case = CaseOnDevice(network, batch, count)
        ways = {
            BASELINE: case.as_one(),
            "loop of nn.Sequential, fused SGD": case.loop(),
            "torch.func.vmap": case.vmap(),
        }
        for _ in range(STEPS - 1):
            for take, _ in ways.values():
                take()
        synchronize()
        exact = ways["loop of nn.Sequential, fused SGD"][1]()
        for name, (_, parameters) in ways.items():
            for own, right in zip(parameters(), exact, strict=True):
                if not (error := float((own - right).norm() / right.norm())) < TOLERANCE:
                    raise RuntimeError(f"{name}, {network}: {error:.1e} off")
        providers = {name: OnDevice(take) for name, (take, _) in ways.items()}
        seconds = compare(providers, ROUNDS, 0.03)
        rows = gpu_rows.timed_rows(f"{count} x {network}", batch, "SGD", seconds, BASELINE)
        gpu_rows.keep("population", rows, ("network", "batch", "provider"))


if __name__ == "__main__":
    main()
