"""Are the weights those of the CPU, after so many steps?

The same batches and the same start, in every precision. How far the device's weights are from the
CPU's in float64, as a share of the way that those have gone; and how far the CPU's own are in that
precision, which is what its rounding costs.
"""

import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gpu_rows
import torch
from on_device import DEVICE, IS_REHEARSAL, Clock, name
from runs import machine
from torch import Tensor

from torchmlp import MLP, Engine

STEPS = 10 if IS_REHEARSAL else 50
NETWORKS: dict[str, tuple[int, list[int], int, str]] = {
    "784-128-10 relu": (784, [128], 10, "relu"),
    "64-64x3-10 tanh": (64, [64, 64, 64], 10, "tanh"),
    "64-64x3-10 gelu": (64, [64, 64, 64], 10, "gelu"),
}
OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "SGD": (torch.optim.SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}),
    "Adam": (torch.optim.Adam, {"lr": 1e-3}),
}
if IS_REHEARSAL:
    NETWORKS = {"20-16x2-4 gelu": (20, [16, 16], 4, "gelu")}
# How many times the CPU's own error is still rounding: sums in another order.
FACTORS = {"float64": 0.0, "float32": 10.0, "bfloat16": 3.0, "float16": 3.0}
EXACT = 1e-9


@dataclass(frozen=True)
class Row:
    """How far off, as shares of the way that the CPU's weights have gone.

    `triton` is TORCHMLP_TRITON: 0 for torch's operators alone, 1 for the kernels.
    """

    network: str
    optimizer: str
    precision: str
    triton: str
    steps: int
    off: float
    off_on_the_cpu: float
    verdict: str
    how: str
    device: str
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def trained(
    model: MLP, optimizer: str, batches: Sequence[tuple[Tensor, Tensor]], precision: str
) -> tuple[list[Tensor], str]:
    """The parameters after the batches, where the model lies, and how they were come by."""
    kind, settings = OPTIMIZERS[optimizer]
    where = model.weights[0].device
    scaler = torch.amp.GradScaler(where.type) if precision == "float16" else None
    products = getattr(torch, precision) if precision in ("bfloat16", "float16") else None
    engine = Engine(
        model,
        "cross_entropy",
        kind(model.parameters(), **settings),
        precision=products,
        scaler=scaler,
    )
    dtype = model.weights[0].dtype
    for x, target in batches:
        engine.step(x.to(where, dtype), target.to(where))
    return [p.detach().cpu().double() for p in model.parameters()], engine.how


def error_of(found: Sequence[Tensor], exact: Sequence[Tensor], start: Sequence[Tensor]) -> float:
    """‖found − exact‖ / ‖exact − start‖."""
    a, b, c = (torch.cat([t.flatten() for t in side]) for side in (found, exact, start))
    return float((a - b).norm() / (b - c).norm())


def main() -> None:
    """Compare, as long as there is time."""
    clock = Clock()
    for network, (fan_in, hidden, classes, activation) in NETWORKS.items():
        torch.manual_seed(0)
        model = MLP(fan_in, hidden, classes, activation, dtype=torch.float64)
        batches = [
            (torch.rand(128, fan_in, dtype=torch.float64), torch.randint(classes, (128,)))
            for _ in range(STEPS)
        ]
        start = [p.detach().clone() for p in model.parameters()]
        for optimizer in OPTIMIZERS:
            exact, _ = trained(deepcopy(model), optimizer, batches, "float64")
            for precision, factor in FACTORS.items():
                if clock.left() < 2:  # noqa: PLR2004  seconds
                    print("  out of time")
                    return
                dtype = torch.float64 if precision == "float64" else torch.float32
                on_cpu, on_device = (deepcopy(model).to(where, dtype) for where in ("cpu", DEVICE))
                plain, _ = trained(on_cpu, optimizer, batches, precision)
                own = error_of(plain, exact, start)
                for triton in "01":
                    os.environ["TORCHMLP_TRITON"] = triton
                    found, how = trained(deepcopy(on_device), optimizer, batches, precision)
                    error = error_of(found, exact, start)
                    row = Row(
                        network=network,
                        optimizer=optimizer,
                        precision=precision,
                        triton=triton,
                        steps=STEPS,
                        off=float(f"{error:.2e}"),
                        off_on_the_cpu=float(f"{own:.2e}"),
                        verdict="as the CPU's" if error < EXACT + factor * own else "OTHERS",
                        how=how,
                        device=name(),
                        **machine(),
                    )
                    gpu_rows.keep("weights", [row], ("network", "optimizer", "precision", "triton"))


if __name__ == "__main__":
    main()
