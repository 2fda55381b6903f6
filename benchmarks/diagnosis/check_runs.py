"""Is each sick run sick, and each healthy one healthy? Trains them all and prints a table.

python benchmarks/diagnosis/check_runs.py [NAME ...] [--seeds 0 1] exits with 1 if any is not.
"""

import argparse
import math
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from datasets import r2
from healthy import HEALTHY
from run import Problem, Run
from sick import SICK
from torch import Tensor

ENOUGH = {"r2": 0.4, "other": 0.25}  # gain of a healthy run
LEFT = 0.6  # of the twin's gain: what a sick run stays below
UNEQUAL = 0.5  # of ln K: the labels' entropy where classes are called unequal


@dataclass(frozen=True)
class Outcome:
    """What came of a run trained plainly."""

    before: float
    after: float
    end: str  # "finite", "not finite", or the exception's name
    seconds: float
    enough: float


def train(make: Callable[[int], Problem], seed: int) -> Outcome:
    """Train by autograd for the run's own steps."""
    problem = make(seed)
    enough = ENOUGH["r2" if problem.score is r2 else "other"]
    start = time.perf_counter()
    before = problem.score(problem.model, problem.batches)
    end = "finite"
    try:
        for step in range(problem.steps):
            x, target = problem.batches[step % len(problem.batches)]
            problem.optimizer.zero_grad()
            loss = problem.loss(problem.model(x), target)
            loss.backward()  # type: ignore[no-untyped-call]
            problem.optimizer.step()
            if not math.isfinite(float(loss.detach())):
                end = "not finite"
    except (IndexError, RuntimeError, ValueError) as error:
        end = type(error).__name__
    seconds = time.perf_counter() - start
    after = problem.score(problem.model, problem.batches)
    return Outcome(before, after, end, seconds, enough)


trained = cache(train)


def gain(outcome: Outcome, floor: float) -> float:
    """What was learnt above a floor; nothing by a run that failed."""
    sound = outcome.end == "finite" and math.isfinite(outcome.after)
    return outcome.after - max(floor, 0.0) if sound else 0.0


def faults_of_healthy(outcome: Outcome) -> list[str]:
    """Why a run cannot count as healthy."""
    learnt = gain(outcome, outcome.before)
    faults = []
    if learnt < outcome.enough:
        faults.append(f"gains {learnt:.2f} only")
    if learnt < 0.5 * (1 - max(outcome.before, 0.0)):
        faults.append("no good score")
    return faults


def faults_of_sick(run: Run, outcome: Outcome, seed: int) -> list[str]:
    """Why a run cannot count as sick."""
    targets = [y for _, y in run.make(seed).batches]
    if run.causes[0] == "labels-constant":
        return [] if all(bool((y == y.flatten()[0]).all()) for y in targets) else ["labels vary"]
    if run.twin is None:
        learnt = gain(outcome, outcome.before)
        return [f"gains {learnt:.2f}, without a twin"] if learnt > outcome.enough else []
    twin = trained(run.twin, seed)
    floor = twin.before
    faults = [f"twin {fault}" for fault in faults_of_healthy(twin)]
    if gain(outcome, floor) > LEFT * gain(twin, floor):
        faults.append("learns")
    if "class-imbalance" in run.causes and entropy(torch.cat(targets)) > UNEQUAL:
        faults.append("classes too equal")
    same = zip(run.make(seed).batches, run.twin(seed).batches, strict=False)
    if any(len(ours[0]) != len(theirs[0]) for ours, theirs in same):
        faults.append("batches differ from the twin's")
    return faults


def entropy(labels: Tensor) -> float:
    """The labels' entropy as a share of the most it could be."""
    share = torch.bincount(labels.flatten().long()) / len(labels)
    return float(-torch.special.xlogy(share, share).sum()) / math.log(len(share))


def is_repeatable(run: Run, seed: int) -> bool:
    """Whether one seed gives one run."""
    first, second = run.make(seed), run.make(seed)
    mine = [*first.model.parameters(), *(x for batch in first.batches for x in batch)]
    yours = [*second.model.parameters(), *(x for batch in second.batches for x in batch)]
    return all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(mine, yours, strict=True)
    )


def check(run: Run, seed: int) -> list[str]:
    """Train a run, print its row, and tell what is wrong with it as a part of the benchmark."""
    own = trained(run.make, seed)
    faults = faults_of_sick(run, own, seed) if run.causes else faults_of_healthy(own)
    if not is_repeatable(run, seed):
        faults.append("differs between two draws of one seed")
    twin = f"{trained(run.twin, seed).after:8.3f}" if run.twin else " " * 8
    row = f"{run.name:<48}{own.before:9.3f}{own.after:9.3f}{twin} {own.end:<13}{own.seconds:5.2f}"
    print(row, *faults, flush=True)
    return faults


def main() -> int:
    """Check what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="runs by part of their name; default: all")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Using a target size")
    runs = [*SICK, *HEALTHY]
    wrong = [name for name, count in Counter(run.name for run in runs).items() if count > 1]
    for seed in options.seeds:
        print(f"seed {seed:<43}{'before':>9}{'after':>9}{'twin':>8} end{'seconds':>15}")
        for run in runs:
            if options.names and not any(part in run.name for part in options.names):
                continue
            if check(run, seed):
                wrong.append(f"{run.name} (seed {seed})")
    causes = Counter(run.causes[0] for run in SICK)
    print(f"{len(SICK)} sick, {len(HEALTHY)} healthy;", *(f"{k} {n}" for k, n in causes.items()))
    print("wrong:", *wrong or ["none"])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
