"""Is the advice good? Runs the code that each diagnosis prints, in the place of the user.

python benchmarks/diagnosis/advice.py [NAME ...] writes results/advice.csv beside the others. The
lines are executed with the names model, loss, optimizer, data and steps, and torch; then the run is
trained by a plain loop for as long as the trial was, and scored as trials are.
"""

import argparse
import csv
import math
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import torch
from questions import FAULTY
from run import Problem, Run
from sick import SICK

from torchmlp.diagnosis import Report, diagnose
from torchmlp.diagnosis.diagnose import start_record
from torchmlp.diagnosis.measure.start import score_of
from torchmlp.diagnosis.remedies.code import is_executable
from torchmlp.diagnosis.run.batches import read_batches
from torchmlp.diagnosis.run.run import TrainingRun
from torchmlp.diagnosis.run.snapshot import restored_afterwards

RESULTS = Path(__file__).parents[1] / "results" / "advice.csv"
COLUMNS = (
    *("seed", "set", "run", "named", "remedy", "form", "trial", "followed", "untouched", "good"),
    *("error", "code"),
)
NEAR = 0.1  # of the trial's score: other random weights, other orders
MORE = 0.8  # of what the trial gained


def advice(report: Report) -> tuple[str, str, int, float]:
    """Name, code, steps and score of what a report recommends; of no trial, 0 steps and nan."""
    if best := report.remedy:
        return best.name, best.code, best.steps, best.score
    if report.findings and report.findings[0].code:
        return "without a trial", report.findings[0].code, 0, math.nan
    return "", "", 0, math.nan


def follow(code: str, problem: Problem, steps: int) -> float:
    """The score after the lines have been executed and the run trained plainly."""
    names: dict[str, Any] = {
        "model": problem.model,
        "loss": problem.loss,
        "optimizer": problem.optimizer,
        "data": problem.batches,
        "steps": problem.steps,
        "torch": torch,
    }
    exec(code, names)  # noqa: S102  what is measured
    model, loss, optimizer = names["model"], names["loss"], names["optimizer"]
    batches = [batch for batch in names["data"] if len(batch[0])]
    steps = steps or names["steps"]
    run = TrainingRun(model, loss, optimizer, read_batches(batches, None, steps))
    with restored_afterwards(model, optimizer) as start:
        record = start_record(run, start, steps)
    for step in range(steps):
        x, target = batches[step % len(batches)]
        optimizer.zero_grad()
        loss(model(x), target).backward()
        optimizer.step()
    score = score_of(run, record)
    return math.nan if score is None else score


def measure(name: str, run: Run, seed: int) -> dict[str, object]:
    """One row."""
    problem = run.make(seed)
    report = diagnose(
        problem.model,
        problem.loss,
        problem.optimizer,
        problem.batches,
        steps=problem.steps,
        budget=None,  # a busy machine would change the answers
    )
    remedy, code, steps, score = advice(report)
    row: dict[str, object] = {
        "seed": seed,
        "set": name,
        "run": run.name,
        "named": " ".join(finding.cause for finding in report.findings),
        "remedy": remedy,
        "code": code,
        "form": "none" if not code else "lines" if is_executable(code) else "words",
    }
    if row["form"] != "lines":
        return row
    untouched = report.record.targets.chance if report.record.targets else 0.0
    base = next((t.score for t in report.record.trials if t.name == "untouched"), math.nan)
    untouched = base if math.isfinite(base) else untouched
    try:
        followed = follow(code, run.make(seed), steps)
    except Exception as error:  # noqa: BLE001  whatever it raises, the advice was bad
        return row | {"error": f"{type(error).__name__}: {error}".splitlines()[0], "good": 0}
    wanted = 0.9 if math.isnan(score) else min(score - NEAR, untouched + MORE * (score - untouched))
    return row | {
        "trial": round(score, 3),
        "followed": round(followed, 3),
        "untouched": round(untouched, 3),
        "good": int(followed >= wanted),
    }


def main() -> None:
    """Measure what is asked for, print what is wrong, and write all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="runs by part of their name; default: all")
    parser.add_argument("--sets", nargs="*", default=["sick", "faulty"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    sets = {"sick": SICK, "faulty": FAULTY}
    rows = []
    start = time.perf_counter()
    for name, seed in product(options.sets, options.seeds):
        for run in sets[name]:
            if options.names and not any(part in run.name for part in options.names):
                continue
            row = measure(name, run, seed)
            rows.append(row)
            if row.get("good", 1) == 0 or options.names:
                print(*(f"{k}: {v}" for k, v in row.items()), sep="\n  ", flush=True)
    for form in ("lines", "words", "none"):
        own = [row for row in rows if row["form"] == form]
        good = sum(int(str(row.get("good", 0))) for row in own)
        print(form, len(own), f"good {good}" if form == "lines" else "")
    print(f"{time.perf_counter() - start:.0f} s")
    if not options.names:
        with RESULTS.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
