"""One epoch of MNIST, 784-256-10, B = 128: `train.py fit`, a bare loop of the engine, the textbook.

    python benchmarks/epoch.py --data_root data --rounds 5

Each in processes of its own, in turns; of `train.py` and the bare loop the first epoch of a process
is left out, for it warms up. The textbook trains on 60 000 images where ours trains on 54 000 and
validates on the rest, so CPU time is compared per step.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from runs import ROOT, machine, rewrite
from timing import quartiles_of

RESULTS = ROOT / "benchmarks" / "results" / "epoch.csv"
HERE = Path(__file__).parent
WIDTH, BATCH = 256, 128


@dataclass(frozen=True)
class Row:
    """CPU and wall time per step of one way, and the quartiles of a ratio within rounds."""

    way: str
    steps: int
    cpu_ms_per_step: float
    wall_ms_per_step: float
    epoch_wall_s: float
    compared_with: str
    ratio_median: float
    ratio_p25: float
    ratio_p75: float
    rounds: int
    threads: int
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def epochs_of(words: list[str]) -> list[dict[str, float]]:
    """What the epochs of a command took: its EPOCH lines."""
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    run = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    lines = re.findall(r"EPOCH (\{.*?\})", run.stdout.decode(errors="replace"))
    return [json.loads(line) for line in lines]


def main() -> None:
    """Measure, print and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no_textbook", action="store_true", help="it takes a minute a round")
    options = parser.parse_args()
    root = str(Path(options.data_root).resolve())
    with tempfile.TemporaryDirectory() as folder:
        fit = ["train.py", "fit", "--data_root", root, "--hidden", str(WIDTH)]
        fit += [
            "--batch_size",
            str(BATCH),
            "--max_epochs",
            "4",
            "--trainer.default_root_dir",
            folder,
        ]
        fit += ["--model.dropout", "0", "--model.input_dropout", "0", "--data.max_shift", "0"]
        fit += ["--trainer.callbacks", "clocks.EpochClock"]
        commands = {
            "bare loop": ["benchmarks/raw_epochs.py", "--data_root", root, "--epochs", "4"],
            "train.py fit": fit,
            "textbook": ["benchmarks/textbook.py", "--data_root", root, "--width", str(WIDTH)],
        }
        if options.no_textbook:
            del commands["textbook"]
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, words in commands.items():
                epochs = epochs_of(words)
                kept = epochs[1:] or epochs
                measured[name].append(
                    {key: median([epoch[key] for epoch in kept]) for key in kept[0]}
                )
    measured["train.py fit, without validation"] = [
        {**epoch, "cpu_s": epoch["cpu_s"] - epoch["validation_cpu_s"]}
        for epoch in measured["train.py fit"]
    ]
    pairs = [("train.py fit", "bare loop"), ("train.py fit, without validation", "bare loop")]
    if "textbook" in measured:
        pairs += [("textbook", "train.py fit")]
    rows = [row_of(measured, *pair) for pair in [("bare loop", "bare loop"), *pairs]]
    for row in rows:
        print(
            f"{row.way:<34} {row.cpu_ms_per_step:6.2f} ms CPU a step, "
            f"epoch {row.epoch_wall_s:5.2f} s; {row.ratio_median:.2f} x {row.compared_with} "
            f"({row.ratio_p25:.2f}..{row.ratio_p75:.2f})"
        )
    rewrite(RESULTS, rows)


def row_of(measured: dict[str, list[dict[str, float]]], way: str, other: str) -> Row:
    """One way beside another: CPU time per step, compared round by round."""
    per_step = [epoch["cpu_s"] / epoch["steps"] for epoch in measured[way]]
    theirs = [epoch["cpu_s"] / epoch["steps"] for epoch in measured[other]]
    ratio = [a / b for a, b in zip(per_step, theirs, strict=True)]
    q = quartiles_of(ratio) if len(ratio) > 1 else (ratio[0],) * 3
    wall = median([epoch["wall_s"] for epoch in measured[way]])
    steps = int(measured[way][0]["steps"])
    return Row(
        way=way,
        steps=steps,
        cpu_ms_per_step=round(1e3 * median(per_step), 3),
        wall_ms_per_step=round(1e3 * wall / steps, 3),
        epoch_wall_s=round(wall, 3),
        compared_with=other,
        ratio_median=round(q[0], 3),
        ratio_p25=round(q[1], 3),
        ratio_p75=round(q[2], 3),
        rounds=len(ratio),
        threads=torch.get_num_threads(),
        **machine(),
    )


if __name__ == "__main__":
    main()
