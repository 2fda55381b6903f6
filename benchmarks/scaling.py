"""How does a training step scale with width, depth, batch, threads and the number of images?

    python benchmarks/scaling.py                        1 and 2 threads, a process for each
    python benchmarks/scaling.py --axes width --rounds 10
    python benchmarks/scaling.py --optimizer adam
    python benchmarks/scaling.py --figure               also draws results/scaling[_adam].png

Width, depth, batch: steps as in step.py, checked as there, as multiples of its floor: the matrix
products alone, with Adam those and its sweep.

    width   784-W-W-10, B = 128
    depth   784, D hidden layers of 64, 10, B = 32
    batch   784-256-10
    data    784-256-10, B = 128: shuffled epochs of uint8 images in memory, by torchmlp's Batches.
            Microseconds per image, as multiples of the engine's on one batch that stays the same.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from problem import Problem
from step import CHECKED_RATES, CHECKED_STEPS, checked
from timing import Row, compare, rows_of, write
from torch import Tensor
from torch_steps import COMPILED, STEPS, load, make_optimizer, reference, sequential

from torchmlp import MLP, Engine
from torchmlp.data import Batches, scale_pixels

TABLE = Path(__file__).parent / "results" / "scaling.csv"
PROVIDERS = ["floor", "engine (C++)", "engine (torch)"]
AUTOGRAD = {"sgd": "nn.Sequential + fused SGD", "adam": "nn.Sequential + fused Adam"}
PROBLEMS = {
    "width": [
        Problem(f"784-{width}x2-10", 128) for width in (16, 32, 64, 128, 256, 512, 1024, 2048)
    ],
    "depth": [Problem(f"784-64x{depth}-10", 32) for depth in (1, 2, 4, 8, 16)],
    "batch": [Problem("784-256-10", 4**k) for k in range(7)],
}
IMAGES = [1_000, 3_000, 10_000, 30_000, 100_000]
AXES = [*PROBLEMS, "data"]
ONE_BATCH = "engine (C++), one batch"
# An epoch of so many images is a turn by itself, and a long one.
MANY, ROUNDS_OF_MANY = 30_000, 10


def time_steps(axis: str, problem: Problem, threads: int, rounds: int) -> list[Row]:
    """Rows of one network and batch."""
    exact = reference(problem, CHECKED_RATES[problem.optimizer], CHECKED_STEPS)
    names = [*PROVIDERS, AUTOGRAD[problem.optimizer]]
    providers = {name: checked(name, problem, exact).take for name in names}
    seconds = compare(providers, rounds)
    return rows_of(
        axis, problem.network, problem.batch, threads, seconds, "floor",
        optimizer=problem.optimizer, compiled=COMPILED,
    )  # fmt: skip


def time_epochs(images: int, optimizer: str, threads: int, rounds: int) -> list[Row]:
    """Rows of an epoch of so many images; the time is that of one image."""
    problem = Problem("784-256-10", 128, optimizer)
    pixels = torch.randint(256, (images, problem.sizes[0]), dtype=torch.uint8)
    labels = torch.randint(problem.sizes[-1], (images,))
    batches = Batches(pixels, labels, problem.batch, shuffle=True)
    first = (pixels[: problem.batch], labels[: problem.batch])

    def epoch(step: Callable[[Tensor, Tensor], object]) -> Callable[[], None]:
        def call() -> None:
            for x, target in batches:
                step(x, target)

        return call

    def same_batch() -> None:
        for _ in range(len(batches)):
            engine(*first)

    engine = engine_of(problem, native=True)
    providers = {
        ONE_BATCH: same_batch,
        "engine (C++)": epoch(engine),
        "engine (torch)": epoch(engine_of(problem, native=False)),
        AUTOGRAD[optimizer]: epoch(autograd_of(problem)),
    }
    rounds = min(rounds, ROUNDS_OF_MANY) if images >= MANY else rounds
    seconds = {
        name: [each / images for each in taken]
        for name, taken in compare(providers, rounds).items()
    }
    name = f"{problem.network}, {images} images"
    return rows_of(
        "data", name, problem.batch, threads, seconds, ONE_BATCH,
        optimizer=optimizer, compiled={*COMPILED, ONE_BATCH},
    )  # fmt: skip


def engine_of(problem: Problem, *, native: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """The engine's step on any batch."""
    sizes = problem.sizes
    model = MLP(sizes[0], sizes[1:-1], sizes[-1], activation="relu")
    load(model, problem)
    optimizer = make_optimizer(problem, model.parameters())
    return Engine(model, "cross_entropy", optimizer, native=native).step


def autograd_of(problem: Problem) -> Callable[[Tensor, Tensor], None]:
    """Autograd's step on any batch."""
    model = sequential(problem)
    optimizer = make_optimizer(problem, model.parameters(), fused=True)

    def step(x: Tensor, target: Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(scale_pixels(x, torch.float32)), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def show(rows: Sequence[Row]) -> None:
    """One line: each provider's ratio and quartiles."""
    first = rows[0]
    print(
        f"{first.benchmark:<6}{first.network:<26}B {first.batch:<5}threads {first.threads}", end=""
    )
    for row in rows:
        if row.ratio_p25 == row.ratio_p75 == 1:
            print(f"  {row.provider} {row.median_us:g} us", end="")
        else:
            spread = f"{row.ratio_p25:.2f}..{row.ratio_p75:.2f}"
            print(f"  {row.provider} {row.ratio_median:.2f} ({spread})", end="")
    print(flush=True)


def main() -> None:
    """Measure what was asked for, one process for each count of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", nargs="+", choices=AXES, default=AXES)
    parser.add_argument("--optimizer", choices=STEPS, default="sgd")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument(
        "--rounds", type=int, default=40, help="0 measures nothing, else at least 2"
    )
    parser.add_argument("--figure", action="store_true", help="needs matplotlib")
    parser.add_argument("--table", type=Path, default=TABLE, help="the CSV file")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        (threads,) = options.threads
        torch.set_num_threads(threads)
        for axis in options.axes:
            for network in PROBLEMS.get(axis, []):
                problem = replace(network, optimizer=options.optimizer)
                show(rows := time_steps(axis, problem, threads, options.rounds))
                write(options.table, rows)
            for images in IMAGES if axis == "data" else []:
                rows = time_epochs(images, options.optimizer, threads, options.rounds)
                show(rows)
                write(options.table, rows)
        return
    for threads in options.threads if options.rounds else []:
        words = [sys.executable, __file__, *sys.argv[1:], "--threads", str(threads), "--one"]
        subprocess.run(words, check=True)
    if options.figure:
        from figures import draw_scaling  # noqa: PLC0415  matplotlib is needed for nothing else

        name = options.table.stem + ("" if options.optimizer == "sgd" else "_adam")
        draw_scaling(options.table, options.table.with_name(f"{name}.png"), options.optimizer)


if __name__ == "__main__":
    main()
