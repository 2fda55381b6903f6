"""What watching costs: the same training watched and unwatched, in turns.

    python benchmarks/watch/overhead.py

prints, for a small MLP and a small CNN, the median over the rounds of watched time over unwatched
time: of the steps from the 150th on, when the loop is known, and of the first hundred. On a clock
on the wall, and by the processor's time, which other programs disturb less.
"""

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn
from torch.nn import functional as F

from torchmlp import watch

ROUNDS, STEPS, FIRST, KNOWN = 7, 400, 100, 150


def mlp() -> tuple[nn.Module, torch.Tensor]:
    """64-64-10, and batches of 32."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), torch.randn(
        STEPS, 32, 64
    )


def cnn() -> tuple[nn.Module, torch.Tensor]:
    """Two convolutions on 28x28 pixels, and batches of 32."""
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    return model, torch.randn(STEPS, 32, 1, 28, 28)


def seconds(make: Callable[[], tuple[nn.Module, torch.Tensor]], *, watched: bool) -> torch.Tensor:
    """(2, 2): by the wall's clock and the processor's, of the first hundred steps and the last."""
    torch.manual_seed(0)
    model, batches = make()
    targets = torch.randint(10, (STEPS, 32))
    optimizer = torch.optim.Adam(model.parameters())
    times = []
    with watch() if watched else nullcontext():
        for x, y in zip(batches, targets, strict=True):
            times.append((time.perf_counter(), time.process_time()))
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]  # torch's
            optimizer.step()
        times.append((time.perf_counter(), time.process_time()))
    at = torch.tensor(times, dtype=torch.float64)
    return torch.stack([at[FIRST] - at[0], at[STEPS] - at[KNOWN]], 1)


def main() -> None:
    """Print two lines for each model."""
    torch.set_num_threads(1)
    for make in (mlp, cnn):
        seconds(make, watched=True)
        rounds = range(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)
        ratios = [1 / seconds(make, watched=False) * seconds(make, watched=True) for _ in rounds]
        for clock, (first, known) in zip(
            ("wall", "processor"), torch.stack(ratios).median(0).values.tolist(), strict=True
        ):
            print(
                f"{make.__name__}, {clock}: {known:.3f} times as long from step {KNOWN} on, "
                f"{first:.2f} times in the first {FIRST}"
            )


if __name__ == "__main__":
    main()
