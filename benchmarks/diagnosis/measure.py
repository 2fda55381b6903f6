"""How often the diagnosis is right: sick runs, healthy runs, and what its remedies restore.

python benchmarks/diagnosis/measure.py [NAME ...] writes results/diagnosis.csv beside the others.
"""

import argparse
import csv
import math
import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import torch
from healthy import HEALTHY
from questions import CORRECTED, FAULTY
from run import Problem, Run
from sick import SICK

from torchmlp.diagnosis import Report, diagnose

RESULTS = Path(__file__).parents[1] / "results" / "diagnosis.csv"
COLUMNS = (
    *(
        "seed",
        "set",
        "run",
        "expected",
        "named",
        "layer_expected",
        "layer",
        "cause_right",
        "layer_right",
    ),
    *("remedy", "remedy_score", "twin_score", "restored", "seconds"),
)
NO_REMEDY = ("labels-constant", "labels-unrelated")  # nothing to be done without other labels
RESTORED = 0.9  # of the healthy twin's gain


def plain_score(problem: Problem, steps: int) -> tuple[float, float]:
    """The scores of a run before and after so many steps, trained by autograd."""
    model = problem.model
    before = problem.score(model, problem.batches)
    model.train()
    for step in range(steps):
        x, target = problem.batches[step % len(problem.batches)]
        problem.optimizer.zero_grad()
        problem.loss(model(x), target).backward()  # type: ignore[no-untyped-call]
        problem.optimizer.step()
    return before, problem.score(model, problem.batches)


def measure(name: str, run: Run, seed: int) -> dict[str, object]:
    """One row."""
    problem = run.make(seed)
    start = time.perf_counter()
    report = diagnose(
        problem.model,
        problem.loss,
        problem.optimizer,
        problem.batches,
        steps=problem.steps,
        budget=None,  # a busy machine would change the answers
    )
    seconds = time.perf_counter() - start
    first = report.findings[0] if report.findings else None
    layers = [finding.layer for finding in report.findings[:1]]
    row: dict[str, object] = {
        "seed": seed,
        "set": name,
        "run": run.name,
        "expected": " ".join(run.causes),
        "named": " ".join(finding.cause for finding in report.findings),
        "layer_expected": " ".join(str(layer) for layer in run.layers),
        "layer": layers[0] if layers else "",
        "cause_right": int((first.cause in run.causes) if first else not run.causes),
        "layer_right": int(not run.layers or (layers[0] if layers else "") in run.layers),
        "seconds": round(seconds, 2),
    }
    if run.twin and run.causes and run.causes[0] not in NO_REMEDY:
        row |= restored(report, run.twin(seed))
    return row


def restored(report: Report, twin: Problem) -> dict[str, object]:
    """The best remedy's score beside the healthy twin's after as many steps."""
    best = report.remedy
    if best is None:
        return {"remedy": "", "restored": 0}
    before, after = plain_score(twin, best.steps)
    floor = max(before, 0.0)
    enough = best.score >= floor + RESTORED * (after - floor)
    return {
        "remedy": best.name,
        "remedy_score": round(best.score, 3),
        "twin_score": round(after, 3),
        "restored": int(enough and math.isfinite(best.score)),
    }


def share(rows: Iterable[dict[str, object]], column: str) -> str:
    """Rows that are right, of those that have the column."""
    values = [int(str(row[column])) for row in rows if column in row]
    return f"{sum(values)} of {len(values)} ({sum(values) / max(len(values), 1):.3f})"


def main() -> None:
    """Run what is asked for, print each row that is wrong, and write all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="runs by part of their name; default: all")
    parser.add_argument("--sets", nargs="*", default=["sick", "healthy", "faulty", "corrected"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = {"sick": SICK, "healthy": HEALTHY, "faulty": FAULTY, "corrected": CORRECTED}
    rows = []
    for name, seed in product(options.sets, options.seeds):
        for run in sets[name]:
            if options.names and not any(part in run.name for part in options.names):
                continue
            row = measure(name, run, seed)
            rows.append(row)
            wrong = not (row["cause_right"] and row["layer_right"] and row.get("restored", 1))
            if wrong or options.names:
                print({k: v for k, v in row.items() if v != ""}, flush=True)
    for name in options.sets:
        own = [row for row in rows if row["set"] == name]
        columns = ("cause_right", "layer_right", "restored")
        print(name, *(f"{column} {share(own, column)}" for column in columns), sep="; ")
    if not options.names:
        with RESULTS.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
