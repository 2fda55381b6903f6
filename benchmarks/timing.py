"""Interleaved timing, and the rows that it gives.

A machine's speed drifts, and the threads of one library spin while another's work. So providers
take turns, A B C A B C, each turn begins with a pause and an untimed call, and what is reported is
the ratio to a baseline within the same round: its median and quartiles.
"""

import csv
import gc
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch
from runs import machine

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Longer than threads spin after their work: OpenMP's by default, others as remote.py tells them.
PAUSE_S = 0.005
KEY = ("benchmark", "network", "batch", "provider", "threads", "optimizer")


@runtime_checkable
class Turns(Protocol):
    """Something that times itself: a provider in another process."""

    def turn(self, calls: int) -> float:
        """Seconds that so many calls take, after one that is not timed."""
        ...


class Here:
    """Turns of a function in this process."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call

    def turn(self, calls: int) -> float:
        """Seconds that so many calls take, after one that is not timed."""
        call = self.call
        call()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return time.perf_counter() - start


class Quartiles(NamedTuple):
    """Of one number per round."""

    median: float
    p25: float
    p75: float


def compare(
    providers: Mapping[str, Callable[[], object] | Turns],
    rounds: int,
    seconds_per_turn: float = 0.01,
) -> dict[str, list[float]]:
    """Time the providers in turns.

    Args:
        providers: what is called, by name.
        rounds: turns of each.
        seconds_per_turn: how long a turn should be; it has at least one call.

    Returns:
        Seconds per call, of each provider in each round.
    """
    turns = {
        name: provider if isinstance(provider, Turns) else Here(provider)
        for name, provider in providers.items()
    }
    calls = {name: _calls(turn, seconds_per_turn) for name, turn in turns.items()}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    # What lives now is not collected any more: a collection takes as long as many steps, and would
    # count for whoever's turn it is.
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, turn in turns.items():
            time.sleep(PAUSE_S)
            seconds[name].append(turn.turn(calls[name]) / calls[name])
    gc.unfreeze()
    return seconds


def _calls(turn: Turns, seconds_per_turn: float) -> int:
    """How many calls take so long: as many as it takes to reach half of it, scaled."""
    calls = 1
    while (taken := turn.turn(calls)) < seconds_per_turn / 2:
        calls *= 2
    return max(1, round(calls * seconds_per_turn / taken))


def quartiles_of(values: Sequence[float]) -> Quartiles:
    """Median and quartiles of at least two values."""
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Quartiles(median(values), low, high)


def ratios(seconds: Mapping[str, Sequence[float]], baseline: str) -> dict[str, Quartiles]:
    """Each provider's time as a multiple of the baseline's in the same round."""
    return {
        name: quartiles_of([own / other for own, other in zip(own, seconds[baseline], strict=True)])
        for name, own in seconds.items()
    }


@dataclass(frozen=True)
class Row:
    """A provider's time, and its ratio to the baseline; `wait_policy` is OMP_WAIT_POLICY or "".

    The columns with defaults came later: older rows are read as having these.
    """

    benchmark: str
    network: str
    batch: int
    provider: str
    threads: int
    median_us: float
    ratio_median: float
    ratio_p25: float
    ratio_p75: float
    rounds: int
    device: str
    cpu: str
    cores: int
    library: str
    torch: str
    wait_policy: str
    commit: str
    date: str
    optimizer: str = "sgd"
    needs_compiler: str = ""  # "yes" or "no": whether there must be a C++ compiler


def rows_of(
    benchmark: str,
    network: str,
    batch: int,
    threads: int,
    seconds: Mapping[str, Sequence[float]],
    baseline: str,
    libraries: Mapping[str, str] | None = None,
    *,
    optimizer: str = "sgd",
    compiled: Collection[str] | None = None,
) -> list[Row]:
    """The rows of one comparison, in the providers' order.

    `libraries` are those of providers outside torch; `compiled` are the names of those that need a
    C++ compiler.
    """
    found = ratios(seconds, baseline)
    return [
        Row(
            benchmark=benchmark,
            network=network,
            batch=batch,
            provider=name,
            threads=threads,
            median_us=round(1e6 * median(taken), 2),
            ratio_median=round(found[name].median, 3),
            ratio_p25=round(found[name].p25, 3),
            ratio_p75=round(found[name].p75, 3),
            rounds=len(taken),
            device="cpu",
            library=(libraries or {}).get(name, f"torch {torch.__version__}"),
            wait_policy=os.environ.get("OMP_WAIT_POLICY", ""),
            optimizer=optimizer,
            needs_compiler="" if compiled is None else "yes" if name in compiled else "no",
            **machine(),
        )
        for name, taken in seconds.items()
    ]


def write(path: Path, rows: Sequence["DataclassInstance"], key: Sequence[str] = KEY) -> None:
    """Add rows to a table, in place of those that agree with a new one in the key's columns.

    Rows of a table that had fewer columns get the new ones' defaults.
    """
    defaults = {f.name: str(f.default) for f in fields(rows[0]) if f.default is not MISSING}
    new = [{name: str(value) for name, value in asdict(row).items()} for row in rows]
    replaced = {tuple(row[name] for name in key) for row in new}
    old = [{**defaults, **row} for row in read(path)]
    kept = [row for row in old if tuple(row[name] for name in key) not in replaced]
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(new[0]))
        writer.writeheader()
        writer.writerows(kept + new)
    part.replace(path)


def read(path: Path) -> list[dict[str, str]]:
    """A table's rows, as text; none where there is no table."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
