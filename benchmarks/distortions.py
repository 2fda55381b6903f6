"""How much of a training step's time do elastic distortions take?

    python benchmarks/distortions.py

The images of one batch are distorted as configs/mnist_elastic.yaml has it, beside the step that
they are for, the engine's. Multiples of the step.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from problem import Problem
from timing import Turns, compare, rows_of, write
from torch_steps import COMPILED, ENGINES

from torchmlp.data import distort_images, shift_images

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = Path(__file__).parent / "results" / "distortions.csv"
PROBLEMS = [Problem(network, 100) for network in ("784-512-10", "784-800-10", "784-1000-500-10")]
STEP = "engine (C++)"


def main() -> None:
    """Measure, print and keep the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--table", type=Path, default=TABLE, help="the CSV file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for problem in PROBLEMS:
        images = torch.randint(256, (problem.batch, 28, 28), dtype=torch.uint8)
        ways: dict[str, Callable[[], object] | Turns] = {
            STEP: ENGINES[STEP](problem).take,
            "elastic": partial(distort_images, images, 28.0, max_rotation=10.0, max_scale=0.1),
            "shift": partial(shift_images, images, 1),
        }
        rows = rows_of(
            "distortions", problem.network, problem.batch, options.threads,
            compare(ways, options.rounds), STEP, compiled=COMPILED,
        )  # fmt: skip
        write(options.table, rows)
        print(f"{problem.network}, B = {problem.batch}: a step takes {rows[0].median_us:.0f} us")
        for row in rows[1:]:
            spread = f"{row.ratio_p25:.2f}..{row.ratio_p75:.2f}"
            print(f"  {row.provider:<10}{row.ratio_median:>6.2f}{spread:>14}")


if __name__ == "__main__":
    main()
