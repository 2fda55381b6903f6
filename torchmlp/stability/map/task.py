"""Cells of one width, depth and batch size, trained as one: what an executor hands to a process.

A cell comes out the same, to the last bit, whatever it is trained beside and in whichever process:
it is computed on one thread, and all that is random is drawn from its own seed.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from torchmlp.diagnosis.diagnose import diagnose_run
from torchmlp.diagnosis.measure.sharpness import largest_rate
from torchmlp.diagnosis.run.run import CannotDiagnoseError
from torchmlp.diagnosis.run.snapshot import random_state_restored
from torchmlp.kernels.threads import threads_for
from torchmlp.stability.map.cell import Cell, CellResult
from torchmlp.stability.map.config import MapConfig
from torchmlp.stability.map.data import MapData
from torchmlp.stability.map.outcome import classify_outcome, last_tenth
from torchmlp.stability.map.population_runs import train_together
from torchmlp.stability.map.single_run import Run, train


class CellError(RuntimeError):
    """A cell that cannot be trained; says which, and why."""


@dataclass(frozen=True)
class Task:
    """Cells of equal width, depth and batch size; one at least."""

    cells: tuple[Cell, ...]


def tasks_of(cells: Iterable[Cell]) -> list[Task]:
    """The cells, those that can be trained as one together."""
    groups: dict[tuple[int, int, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.width, cell.depth, cell.batch_size), []).append(cell)
    return [Task(tuple(group)) for group in groups.values()]


def run_task(task: Task, config: MapConfig, samples: MapData) -> list[CellResult]:
    """Train the cells, score them, and say of those that do not learn why.

    Returns:
        What came of them, in the task's order; the same for every split of a task but for
        `seconds`.

    Raises:
        CellError: a cell cannot be trained.
    """
    samples = samples.to(config.torch_dtype)
    with threads_for(0.0), random_state_restored():
        began = time.perf_counter()
        with _naming(task.cells[0]):
            runs = train_together(task.cells, config, samples)
        share = (time.perf_counter() - began) / len(task.cells)
        edges: dict[tuple[str, int], float | None] = {}
        results = []
        for i, cell in enumerate(task.cells):
            began = time.perf_counter()
            with _naming(cell):
                torch.manual_seed(cell.seed)
                run = runs[i] if runs else train(cell, config, samples)
                key = cell.init, cell.seed
                if key not in edges:
                    edges[key] = _edge(cell, config, samples)
                found = _judged(cell, run, config, samples)
            seconds = share + time.perf_counter() - began
            results.append(CellResult(cell, *found, edges[key], seconds))
        return results


def _judged(
    cell: Cell, run: Run, config: MapConfig, samples: MapData
) -> tuple[str, int | None, float | None, float | None, float | None, str | None]:
    """Outcome, step, first loss, loss, accuracy and cause."""
    outcome, step = classify_outcome(run.losses, run.accuracy, samples.chance, samples.reachable)
    first, loss = (_finite(value) for value in (run.losses[0], last_tenth(run.losses)))
    cause = None if outcome == "learns" else _cause(cell, config, samples)
    return outcome, step, first, loss, run.accuracy, cause


def _cause(cell: Cell, config: MapConfig, samples: MapData) -> str | None:
    torch.manual_seed(cell.seed)
    try:
        run = config.run(cell, samples.epoch(cell, config.steps))
        findings = diagnose_run(run, config.steps).findings
    except CannotDiagnoseError:
        return None
    return findings[0].cause if findings else None


def _edge(cell: Cell, config: MapConfig, samples: MapData) -> float | None:
    """2 / λmax of the first batch's loss at the start."""
    torch.manual_seed(cell.seed)
    run = config.run(cell, samples.epoch(cell, 1))
    return largest_rate(run, run.batch(0))


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


@contextmanager
def _naming(cell: Cell) -> Iterator[None]:
    """Re-raise errors with the cell's settings."""
    try:
        yield
    except Exception as error:
        raise CellError(
            f"width {cell.width}, depth {cell.depth}, batch size {cell.batch_size}, rate "
            f"{cell.lr:g}, init {cell.init}, seed {cell.seed}: {type(error).__name__}: {error}"
        ) from error
