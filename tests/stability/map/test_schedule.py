import re
from collections.abc import Sequence

import pytest

from tests.stability.small_maps import cell, digits, map_config
from torchmlp.stability.map.cell import Cell
from torchmlp.stability.map.grid import Grid
from torchmlp.stability.map.schedule import (
    cores,
    describe_plan,
    estimate_memory,
    estimate_work,
    split_tasks,
)
from torchmlp.stability.map.task import Task, tasks_of

OWN = map_config(steps=200)
GB = 10**9


def cut(cells: Sequence[Cell], *, memory: int = 20 * GB, workers: int = 2) -> list[Task]:
    return split_tasks(tasks_of(cells), OWN, digits(), memory=memory, workers=workers)


def memory(task: Task) -> int:
    return estimate_memory(task, OWN, digits())


def work(task: Task) -> float:
    return estimate_work(task, OWN, digits())


def test_a_split_keeps_every_cell_once() -> None:
    """The tasks of the default map hold its cells, each once, whatever the limits."""
    cells = Grid().cells()
    for limit, workers in ((20 * GB, 2), (4 * GB, 4), (64 * GB, 64)):
        found = [one for task in cut(cells, memory=limit, workers=workers) for one in task.cells]
        assert sorted(found) == sorted(cells)


def test_no_task_is_far_above_its_fair_share() -> None:
    """One width that is nearly all the work is shared out; the most work comes first."""
    cells = Grid().cells()
    tasks = cut(cells)
    total = sum(map(work, tasks))
    assert max(map(work, tasks)) < total / 4
    assert [work(task) for task in tasks] == sorted(map(work, tasks), reverse=True)
    # What is small stays as it is, trained as one.
    small = [task for task in tasks if task.cells[0].width == 32]
    assert {len(task.cells) for task in small} == {7}


def test_the_parts_of_a_task_have_cells_of_every_kind() -> None:
    """Large rates are sick and are diagnosed: they are dealt out, not left to one worker."""
    cells = [cell(width=2048, batch_size=512, lr=0.1 * k) for k in range(1, 9)]
    parts = cut(cells, workers=1)
    assert len(parts) == 4
    assert all(min(one.lr for one in part.cells) < 0.45 < max(one.lr for one in part.cells)
               for part in parts)  # fmt: skip


def test_a_task_too_large_for_memory_is_split() -> None:
    """No part needs more than its share; a hundred networks become several tasks."""
    cells = [cell(width=2048, batch_size=64, lr=0.001 * k) for k in range(1, 401)]
    (whole,) = tasks_of(cells)
    assert memory(whole) > 2 * GB
    parts = cut(cells, memory=4 * GB, workers=2)
    assert max(map(memory, parts)) <= 2 * GB < memory(whole)


def test_a_network_too_large_for_memory() -> None:
    """It is said which width, what it needs, what there is, and the way out."""
    cells = [cell(width=32), cell(width=200_000, batch_size=512)]
    words = (
        r"width 200000 \(depth 1, batch size 512\): one network needs [\d.]+ GB, and there are "
        r"2\.0 GB for each of 4 workers; take smaller widths, or allow more \(--memory\)"
    )
    with pytest.raises(ValueError, match=words):
        cut(cells, memory=8 * GB, workers=4)


def test_fewer_workers_where_one_has_the_room() -> None:
    """Where a network fits a single worker, that is the first way out."""
    needed = memory(Task((cell(width=20_000),)))
    with pytest.raises(ValueError, match=r"take fewer workers \(--workers 1\), smaller widths"):
        cut([cell(width=20_000)], memory=needed + GB, workers=8)
    assert len(cut([cell(width=20_000)], memory=needed + GB, workers=1)) == 1


def test_memory_and_work_grow_with_what_they_are_made_of() -> None:
    """More units, layers, networks, rows and wider numbers take more."""
    base = Task((cell(width=512, batch_size=64),))
    larger = [
        Task((cell(width=2048, batch_size=64),)),
        Task((cell(width=512, batch_size=64, depth=3),)),
        Task(tuple(cell(width=512, batch_size=64, lr=0.1 * k) for k in range(1, 99))),
        Task((cell(width=512, batch_size=5000),)),
    ]
    for task in larger:
        assert memory(task) > memory(base)
        assert work(task) > work(base)
    wide = map_config(steps=200, dtype="float64")
    assert estimate_memory(base, wide, digits()) > memory(base)
    assert estimate_work(base, wide, digits()) > work(base)


def test_memory_counts_the_parameters_of_every_network() -> None:
    """A hundred networks more take at least their weights and no more than twice as much."""
    few, many = (
        Task(tuple(cell(width=2048, lr=0.001 * k) for k in range(1, count + 1)))
        for count in (100, 200)
    )
    weights = 4 * 100 * (785 * 2048 + 2049 * 10)
    assert weights <= memory(many) - memory(few) <= 2.2 * weights


def test_the_plan_is_one_line() -> None:
    """Cells, groups, workers, and memory at most of what there is."""
    tasks = cut(Grid().cells())
    found = re.fullmatch(
        r"105 cells in (\d+) groups on 2 workers, at most ([\d.]+) GB of ([\d.]+) GB",
        describe_plan(tasks, OWN, digits(), workers=2),
    )
    assert found
    assert int(found[1]) == len(tasks)
    assert float(found[2]) == pytest.approx(2 * max(map(memory, tasks)) / GB, rel=0.1)
    one = describe_plan(cut([cell()]), OWN, digits(), workers=8)
    assert one.startswith("1 cell in 1 group on 1 worker, at most 0.")


def test_there_is_a_core() -> None:
    """Workers are those asked for, or as many as this process has cores."""
    assert cores(5) == 5
    assert cores(None) >= 1
