"""A run of train.py as a row of a table."""

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """What one run reached, where and when."""

    name: str
    seed: int
    test_accuracy: float
    test_loss: float
    training_s: float
    epochs: int
    data: str
    device: str
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def train(name: str, flags: list[str], seed: int) -> Run:
    """Run `python train.py fit` with these flags in this repository and read its summary.

    Raises:
        subprocess.CalledProcessError: the run failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", "fit", *flags]
        command += ["--trainer.default_root_dir", folder]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        path = Path(folder) / "lightning_logs" / "version_0" / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
    return Run(
        name=name,
        seed=seed,
        test_accuracy=round(summary["test_accuracy"], 4),
        test_loss=round(summary["test_loss"], 4),
        training_s=summary["training_seconds"],
        epochs=summary["epochs"],
        data=summary["data"],
        device=summary["device"],
        **machine(),
    )


def append(path: Path, run: Run) -> None:
    """Add a row to a table, with its header where the table is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(run)))
        if new:
            writer.writeheader()
        writer.writerow(asdict(run))


class Machine(TypedDict):
    """Where and when a row was measured."""

    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def machine() -> Machine:
    """This machine, now."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": version("torch"),
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def rewrite(path: Path, rows: Sequence[Any]) -> None:
    """Write a table anew, of rows that are dataclasses."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _commit() -> str:
    words = ["git", "rev-parse", "--short", "HEAD"]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip() or os.environ.get("COMMIT", "unknown")  # a copy without history


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
