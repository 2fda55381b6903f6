"""The tasks of a map, one after the other, in this process."""

from collections.abc import Iterator, Sequence

from torchmlp.stability.cells import CellResult
from torchmlp.stability.recipe import Recipe
from torchmlp.stability.samples import Samples
from torchmlp.stability.task import Task, run_task


def run(
    tasks: Sequence[Task], recipe: Recipe, samples: Samples, workers: int | None = None
) -> Iterator[list[CellResult]]:
    """The results of one task after the other.

    Raises:
        CellError: a cell cannot be trained.
    """
    del workers  # there is one
    for task in tasks:
        yield run_task(task, recipe, samples)
