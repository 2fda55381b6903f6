"""How long does a training step take, as a multiple of its matrix products alone?

    python benchmarks/step.py                                  everything, 1 and 2 threads
    python benchmarks/step.py --networks 784-128-10 --threads 1 --rounds 10
    python benchmarks/step.py --optimizers adam                Adam alone
    python benchmarks/step.py --figure                         also draws results/step.png and
                                                               results/step_adam.png
    python benchmarks/step.py --rounds 0 --figure              only draws

ReLU, cross-entropy, plain SGD or Adam, float32; for Adam the floor is the matrix products and the
step of torch's fused Adam on as many parameters. Every provider first takes three steps, at η = 0.1
or with Adam 0.001, that are compared with autograd and torch.optim in float64. numpy, JAX (with
optax for Adam) and scikit-learn (the extra `bench`) run in processes of their own, by the
interpreter `--peers_python`; one that it lacks is left out. The table tells who needs a C++
compiler. JAX's steps are queued and waited for at the end of a turn: with one thread it takes up to
a quarter more than one core. scikit-learn's partial_fit checks its arguments in every call, as it
does for its users. Each count of threads is measured in a process of its own. Let nothing else run:
two threads on a loaded machine wait for each other, and no ratio means anything.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import torch
from problem import Doubles, Floats, Problem
from remote import LIBRARIES, Peers, Remote
from timing import Row, Turns, compare, rows_of, write
from torch_steps import COMPILED, STEPS, TIMED_RATES, UNCHECKED, Step, reference

TABLE = Path(__file__).parent / "results" / "step.csv"
NETWORKS = {
    "784-128-10": [32, 128],
    "784-256-128-10": [128],
    "784-64x8-10": [32],
    "784-1000-1000-10": [32, 512],
    "64-32-10": [32, 2048],
    "20-100-3": [200],
    "784-256-10": [1, 8, 32, 128, 512, 2048],
}
CHECKED_STEPS, CHECKED_RATES = 3, {"sgd": 0.1, "adam": 0.001}
# Of float32 that is right: 1e-5, and 7e-4 where a hidden unit lies within rounding of ReLU's kink
# (784-1000-1000-10, B = 512). It is the error of what the steps have changed: 1e-4 of the values.
TOLERANCE = 2e-3


def error_of(found: Sequence[Floats], exact: Sequence[Doubles], start: Sequence[Floats]) -> float:
    """Largest relative error of a parameter tensor's way from the start."""
    return max(
        float(np.linalg.norm(own - right) / np.linalg.norm(right - first))
        for own, right, first in zip(found, exact, start, strict=True)
    )


def check(name: str, found: Sequence[Floats], exact: Sequence[Doubles], problem: Problem) -> None:
    """Compare a provider's parameters with the reference's.

    Raises:
        RuntimeError: they are others: its time would be that of another step.
    """
    # scikit-learn adds Adam's epsilon elsewhere: elements of tiny gradients go another way.
    tolerance = TOLERANCE * (25 if "scikit-learn" in name and problem.optimizer == "adam" else 1)
    if not (error := error_of(found, exact, problem.start)) < tolerance:
        raise RuntimeError(
            f"{name}: {problem.network}, B = {problem.batch}: {CHECKED_STEPS} steps {error:.1e} "
            f"off, expected less than {tolerance:.0e}"
        )


def checked(name: str, problem: Problem, exact: Sequence[Doubles]) -> Step:
    """A step in torch that does what it should, at the rate that is timed."""
    step = STEPS[problem.optimizer][name](problem)
    if name not in UNCHECKED:
        step.set_rate(CHECKED_RATES[problem.optimizer])
        for _ in range(CHECKED_STEPS):
            step.take()
        check(name, [p.detach().numpy() for p in step.parameters()], exact, problem)
        step.set_rate(TIMED_RATES[problem.optimizer])
    return step


def measure(
    problem: Problem, names: Sequence[str], threads: int, rounds: int, peers: Peers
) -> list[Row]:
    """The rows of one network and batch; the floor is always among them."""
    rate = CHECKED_RATES[problem.optimizer]
    exact = reference(problem, rate, CHECKED_STEPS)
    torch.compiler.reset()  # it compiles a function only for so many networks
    providers: dict[str, Callable[[], object] | Turns] = {}
    for name in STEPS[problem.optimizer]:
        if name in names or name in UNCHECKED:
            providers[name] = checked(name, problem, exact).take
    remotes: list[Remote] = []
    try:
        for name, library in LIBRARIES.items():
            if name in names and not peers.missing(library, problem.optimizer):
                timed = TIMED_RATES[problem.optimizer]
                remotes.append(remote := Remote(library, problem, threads, timed, peers.python))
                check(name, remote.parameters_after(CHECKED_STEPS, rate), exact, problem)
                providers[name] = remote
        seconds = compare(providers, rounds)
    finally:
        for remote in remotes:
            remote.close()
    libraries = {
        name: peers.names_and_versions(LIBRARIES[name], problem.optimizer)
        for name in seconds
        if name in LIBRARIES
    }
    return rows_of(
        "step", problem.network, problem.batch, threads, seconds, "floor", libraries,
        optimizer=problem.optimizer, compiled=COMPILED,
    )  # fmt: skip


def show(rows: Sequence[Row]) -> None:
    """Print one network's part of the table."""
    floor = median(row.median_us for row in rows if row.provider == "floor")
    first = rows[0]
    threads = f"{first.threads} thread{'s' if first.threads > 1 else ''}"
    print(
        f"\n{first.network}, B = {first.batch}, {first.optimizer}, {threads}: floor {floor:.1f} us"
    )
    for row in rows:
        if row.provider != "floor":
            spread = f"{row.ratio_p25:.2f}..{row.ratio_p75:.2f}"
            print(
                f"  {row.provider:<34}{row.ratio_median:>8.2f}{spread:>16}{row.median_us:>12.1f} us"
                f"{'  C++ compiler' * (row.needs_compiler == 'yes')}"
            )
    sys.stdout.flush()


def tell_what_is_left_out(names: Sequence[str], optimizers: Sequence[str], peers: Peers) -> None:
    """Print which of the providers are not installed."""
    for (name, library), optimizer in product(LIBRARIES.items(), optimizers):
        if name in names and (lacking := peers.missing(library, optimizer)):
            print(f"{name}, {optimizer}: left out, {lacking} is not installed")


def main() -> None:
    """Measure what was asked for, one process for each count of threads."""
    steps = [name for of_one in STEPS.values() for name in of_one]
    every = [name for name in dict.fromkeys([*steps, *LIBRARIES]) if name not in UNCHECKED]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, help="only these of each network's")
    parser.add_argument("--providers", nargs="+", choices=every, default=every, metavar="NAME")
    parser.add_argument("--optimizers", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument(
        "--rounds", type=int, default=40, help="0 measures nothing, else at least 2"
    )
    parser.add_argument("--figure", action="store_true", help="needs matplotlib")
    parser.add_argument("--table", type=Path, default=TABLE, help="the CSV file")
    parser.add_argument("--peers_python", default=sys.executable, help="that has JAX, ...")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    peers = Peers(options.peers_python)
    if options.one:
        (threads,) = options.threads
        torch.set_num_threads(threads)
        for network in options.networks:
            batches = options.batches or NETWORKS[network]
            for batch, optimizer in product(batches, options.optimizers):
                problem = Problem(network, batch, optimizer)
                rows = measure(problem, options.providers, threads, options.rounds, peers)
                show(rows)
                write(options.table, rows)
        return
    tell_what_is_left_out(options.providers, options.optimizers, peers)
    for threads in options.threads if options.rounds else []:
        words = [sys.executable, __file__, *sys.argv[1:], "--threads", str(threads), "--one"]
        subprocess.run(words, check=True)
    if options.figure:
        from figures import draw_steps  # noqa: PLC0415  matplotlib is needed for nothing else

        for optimizer in options.optimizers:
            name = options.table.stem + ("" if optimizer == "sgd" else f"_{optimizer}")
            draw_steps(options.table, options.table.with_name(f"{name}.png"), optimizer)


if __name__ == "__main__":
    main()
