"""Rows of the tables, written as they come, and the Markdown that README takes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import on_device
from runs import ROOT, machine
from timing import ratios, read, write

FOLDER = Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results")
NAMES = ("weights", "step", "population", "epoch", "accuracy")


@dataclass(frozen=True)
class TimedRow:
    """A way to take a step: its time, and its ratio to the baseline within rounds."""

    network: str
    batch: int
    optimizer: str
    provider: str
    median_us: float
    ratio_median: float
    ratio_p25: float
    ratio_p75: float
    baseline: str
    rounds: int
    device: str
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def path(name: str) -> Path:
    """The table of that name."""
    return FOLDER / f"gpu_{name}.csv"


def timed_rows(
    network: str,
    batch: int,
    optimizer: str,
    seconds: Mapping[str, Sequence[float]],
    baseline: str,
) -> list[TimedRow]:
    """The rows of one comparison."""
    found = ratios(seconds, baseline)
    return [
        TimedRow(
            network=network,
            batch=batch,
            optimizer=optimizer,
            provider=provider,
            median_us=round(1e6 * median(taken), 2),
            ratio_median=round(found[provider].median, 3),
            ratio_p25=round(found[provider].p25, 3),
            ratio_p75=round(found[provider].p75, 3),
            baseline=baseline,
            rounds=len(taken),
            device=on_device.name(),
            **machine(),
        )
        for provider, taken in seconds.items()
    ]


def keep(name: str, rows: Sequence[Any], key: Sequence[str]) -> None:
    """Print rows and write them into their table, in place of older ones."""
    if not rows:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for row in rows:
        fields = {k: v for k, v in vars(row).items() if k not in machine() and k != "device"}
        print(" ", "  ".join(f"{k} {v}" for k, v in fields.items()), flush=True)
    write(path(name), rows, key)


def markdown() -> str:
    """README's rows, of the tables that there are."""
    parts = []
    for name in NAMES:
        rows = read(path(name))
        if name in ("step", "population") and rows:
            parts.append(_crosswise(name, rows))
        elif rows:
            shown = [k for k in rows[0] if k not in ("cpu", "cores", "torch", "commit", "date")]
            parts.append(_table(shown, [[row[k] for k in shown] for row in rows]))
    return "\n\n".join(parts)


def _crosswise(name: str, rows: Sequence[Mapping[str, str]]) -> str:
    """A row for each network, a column for each provider: multiples of the baseline."""
    providers = list(dict.fromkeys(row["provider"] for row in rows))
    cases: dict[str, dict[str, str]] = {}
    for row in rows:
        case = f"{row['network']}, {row['batch']}" + f", {row['optimizer']}" * (name == "step")
        cases.setdefault(case, {})[row["provider"]] = row["ratio_median"]
        if row["provider"] == row["baseline"]:
            cases[case][row["provider"]] = f"{row['median_us']} us"
    body = [[case, *(found.get(p, "") for p in providers)] for case, found in cases.items()]
    head = "network, batch" + ", optimizer" * (name == "step")
    return _table([head, *providers], body)


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
