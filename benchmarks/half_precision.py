"""Where to take the average in float16: in the delta, or in the gradient's matrix product.

A 784-128-10 ReLU network as torch initialises it, inputs in 0..1, everything in float16. For each
batch size: the fraction of the active hidden units' deltas that are zero or subnormal, and the
error of the first layer's weight gradient against float64.

    python benchmarks/half_precision.py         writes results/half_precision.csv
"""

import csv
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from torchmlp.kernels.dense import dense_grad_weight
from torchmlp.kernels.losses import loss_delta
from torchmlp.kernels.network import Layer, Pass, run, scan_deltas

RESULTS = Path(__file__).parent / "results" / "half_precision.csv"
ROWS = [2**k for k in range(7, 17)]  # 128 .. 65536
FIELDS = ["rows", "average_in", "zero", "subnormal", "gradient_error", "torch", "commit", "date"]


def network() -> list[Layer]:
    """784-128-10, in float16."""
    hidden, output = nn.Linear(784, 128), nn.Linear(128, 10)
    return [
        Layer(linear.weight.detach().half(), linear.bias.detach().half(), activation)
        for linear, activation in ((hidden, "relu"), (output, "identity"))
    ]


def first_gradient(
    layers: list[Layer], passed: Pass, delta: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """The hidden deltas, and the first layer's weight gradient."""
    hidden = scan_deltas(delta, passed, layers)[0]
    return hidden, dense_grad_weight(hidden, passed.a[0], scale)


def measure(rows: int, seed: int = 0) -> list[dict[str, float | str]]:
    """One row for each place that the average can be taken in."""
    torch.manual_seed(seed)
    layers = network()
    x, target = torch.rand(rows, 784).half(), torch.randint(10, (rows,))
    wide = [Layer(w.double(), None if b is None else b.double(), phi) for w, b, phi in layers]
    exact_pass = run(x.double(), wide)
    exact_delta = loss_delta(exact_pass.a[-1], target, "cross_entropy")
    _, exact = first_gradient(wide, exact_pass, exact_delta, 1 / rows)
    passed = run(x, layers)
    delta = loss_delta(passed.a[-1], target, "cross_entropy")
    found: list[dict[str, float | str]] = []
    for place, scaled, scale in (("delta", delta / rows, 1.0), ("product", delta, 1 / rows)):
        hidden, gradient = first_gradient(layers, passed, scaled, scale)
        active = hidden[passed.a[1] > 0].abs()
        tiny = active < torch.finfo(torch.float16).smallest_normal
        error = ((gradient.double() - exact).norm() / exact.norm()).item()
        found.append(
            {
                "rows": rows,
                "average_in": place,
                "zero": f"{(active == 0).double().mean().item():.2e}",
                "subnormal": f"{(tiny & (active > 0)).double().mean().item():.2e}",
                "gradient_error": f"{error:.2e}",
            }
        )
    return found


def main() -> None:
    """Measure every batch size and write the table."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    about = {
        "torch": torch.__version__,
        "commit": commit,
        "date": datetime.now(tz=UTC).date().isoformat(),
    }
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for rows in ROWS:
            for row in measure(rows):
                writer.writerow(row | about)
                print(*row.values(), sep="\t", flush=True)


if __name__ == "__main__":
    main()
