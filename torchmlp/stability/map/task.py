"""Cells of one width, depth and batch size, trained as one: what an engine hands to a process.

A cell comes out the same, to the last bit, whatever it is trained beside and in whichever process:
it is computed on one thread, and all that is random is drawn from its own seed.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from torchmlp.diagnosis.diagnose import diagnose_subject
from torchmlp.diagnosis.measure.sharpness import largest_rate
from torchmlp.diagnosis.run.run import CannotDiagnoseError
from torchmlp.diagnosis.run.snapshot import random_state_kept
from torchmlp.kernels.threads import threads_for
from torchmlp.stability.map.cell import Cell, CellResult
from torchmlp.stability.map.config import Recipe
from torchmlp.stability.map.data import Samples
from torchmlp.stability.map.outcome import last_tenth, outcome_of
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


def run_task(task: Task, recipe: Recipe, samples: Samples) -> list[CellResult]:
    """Train the cells, score them, and say of those that do not learn why.

    Returns:
        What came of them, in the task's order; the same for every split of a task but for
        `seconds`.

    Raises:
        CellError: a cell cannot be trained.
    """
    samples = samples.to(recipe.torch_dtype)
    with threads_for(0.0), random_state_kept():
        began = time.perf_counter()
        with _naming(task.cells[0]):
            runs = train_together(task.cells, recipe, samples)
        share = (time.perf_counter() - began) / len(task.cells)
        edges: dict[tuple[str, int], float | None] = {}
        results = []
        for i, cell in enumerate(task.cells):
            began = time.perf_counter()
            with _naming(cell):
                torch.manual_seed(cell.seed)
                run = runs[i] if runs else train(cell, recipe, samples)
                key = cell.init, cell.seed
                if key not in edges:
                    edges[key] = _edge(cell, recipe, samples)
                found = _judged(cell, run, recipe, samples)
            seconds = share + time.perf_counter() - began
            results.append(CellResult(cell, *found, edges[key], seconds))
        return results


def _judged(
    cell: Cell, run: Run, recipe: Recipe, samples: Samples
) -> tuple[str, int | None, float | None, float | None, float | None, str | None]:
    """Outcome, step, first loss, loss, accuracy and cause."""
    outcome, step = outcome_of(run.losses, run.accuracy, samples.chance, samples.reachable)
    first, loss = (_finite(value) for value in (run.losses[0], last_tenth(run.losses)))
    cause = None if outcome == "learns" else _cause(cell, recipe, samples)
    return outcome, step, first, loss, run.accuracy, cause


def _cause(cell: Cell, recipe: Recipe, samples: Samples) -> str | None:
    torch.manual_seed(cell.seed)
    try:
        subject = recipe.subject(cell, samples.epoch(cell, recipe.steps))
        findings = diagnose_subject(subject, recipe.steps).findings
    except CannotDiagnoseError:
        return None
    return findings[0].cause if findings else None


def _edge(cell: Cell, recipe: Recipe, samples: Samples) -> float | None:
    """2 / λmax of the first batch's loss at the start."""
    torch.manual_seed(cell.seed)
    subject = recipe.subject(cell, samples.epoch(cell, 1))
    return largest_rate(subject, subject.batch(0))


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


@contextmanager
def _naming(cell: Cell) -> Iterator[None]:
    """Whatever goes wrong inside is said of the cell."""
    try:
        yield
    except Exception as error:
        raise CellError(
            f"width {cell.width}, depth {cell.depth}, batch size {cell.batch_size}, rate "
            f"{cell.lr:g}, init {cell.init}, seed {cell.seed}: {type(error).__name__}: {error}"
        ) from error
