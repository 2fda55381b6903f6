"""Estimate a map's memory and compute; split it into tasks."""

import os
from collections.abc import Sequence
from itertools import pairwise
from math import ceil

import torch

from torchmlp.diagnosis.measure.data_statistics import AT_MOST, FEATURES
from torchmlp.diagnosis.remedies.trial import WORK_OF_A_CALL, WORK_OF_ALL
from torchmlp.stability.map.cell import Cell
from torchmlp.stability.map.config import MapConfig
from torchmlp.stability.map.data import MapData
from torchmlp.stability.map.task import Task
from torchmlp.stability.system_memory import available_memory

# A process that has imported torch and Lightning (measured: 360 MB).
PROCESS = 400_000_000
# Copies of a network's parameters: its start, gradients, optimizer state, directions of curvature.
COPIES = 12
TRIALS = 16  # of changes that are tried side by side, each with its own copy
# Arrays of samples × features in float64 that the probes of a diagnosis hold at a time.
PROBES = 6
BUFFERS = 3  # z, a and delta of a layer
# Of the default map on two cores: a step by autograd takes as long as so many multiplications,
# whatever the network, and so many for each parameter; so many steps are tried at most.
WORK_OF_CALLS = 7e7
WORK_OF_A_PARAMETER = 500
STEPS_TRIED = 8000
SICK = 0.4  # share of a map's cells whose cause is looked for
PARTS = 4  # of a worker's fair share of the work, that a task is at most


def cores(workers: int | None) -> int:
    """The number of workers: that asked for, or one for each core that this process may use."""
    if workers:
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def estimate_memory(task: Task, config: MapConfig, samples: MapData) -> int:
    """Bytes that a process needs for a task, itself included; an upper estimate.

    A model is taken for the multilayer perceptron of its widths.
    """
    cell, itemsize = task.cells[0], config.torch_dtype.itemsize
    rows, own = samples.rows(cell), samples.inputs.element_size()
    network = itemsize * _parameters(cell, samples)
    layers = itemsize * BUFFERS * rows * (cell.depth * cell.width + samples.classes)
    batch = rows * samples.features * (own + itemsize)
    several = {cell.seed for cell in task.cells}
    training = len(task.cells) * (2 * network + layers) + (len(several) + 1) * batch
    epoch = 2 * own * len(samples.inputs) * samples.features
    probes = PROBES * AT_MOST * min(samples.features, FEATURES) * 8
    diagnosis = COPIES * network + TRIALS * (2 * network + layers) + epoch + probes
    return PROCESS + 2 * samples.size_bytes + max(training, diagnosis)


def estimate_work(task: Task, config: MapConfig, samples: MapData) -> float:
    """Multiplications that a task takes, training and diagnosis, or their worth in time."""
    cell = task.cells[0]
    count = _parameters(cell, samples)
    wide = config.torch_dtype.itemsize / torch.float32.itemsize
    products = wide * 3 * samples.rows(cell) * count
    by_autograd = products + wide * WORK_OF_A_PARAMETER * count + WORK_OF_CALLS
    # As torchmlp.diagnosis.remedies.trial counts.
    tried = min(WORK_OF_ALL / (products + WORK_OF_A_CALL * (2 * cell.depth + 4)), STEPS_TRIED)
    diagnosis = (config.steps + tried) * by_autograd
    return len(task.cells) * (config.steps * products + SICK * diagnosis)


def split_tasks(
    tasks: Sequence[Task],
    config: MapConfig,
    samples: MapData,
    *,
    memory: int | None = None,
    workers: int | None = None,
) -> list[Task]:
    """The tasks, those cut in pieces that are too large for a worker; the most work first.

    Args:
        tasks: of cells that can be trained as one.
        config: what they are trained by.
        samples: what they are trained on.
        memory: bytes for all workers together; None takes all that is free.
        workers: how many; None takes the machine's cores.

    Raises:
        ValueError: one network alone needs more than a worker may have.
    """
    workers = cores(workers)
    each = (available_memory() if memory is None else memory) // workers
    total = sum(estimate_work(task, config, samples) for task in tasks)
    parts = []
    for task in tasks:
        alone = estimate_memory(Task(task.cells[:1]), config, samples)
        if alone > each:
            raise ValueError(_too_large(task.cells[0], alone, each, workers))
        work = estimate_work(task, config, samples)
        count = min(max(ceil(PARTS * workers * work / total), 1), len(task.cells))
        while estimate_memory(_part(task, 0, count), config, samples) > each:
            count += 1
        parts += [_part(task, k, count) for k in range(count)]
    return sorted(parts, key=lambda part: -estimate_work(part, config, samples))


def _part(task: Task, k: int, count: int) -> Task:
    # Neighbours are of a kind: those that end early, or are diagnosed, are dealt out.
    return Task(task.cells[k::count])


def _too_large(cell: Cell, needed: int, each: int, workers: int) -> str:
    those = f"each of {workers} workers" if workers > 1 else "it"
    way_out = "fewer workers (--workers 1), " if needed <= workers * each and workers > 1 else ""
    return (
        f"width {cell.width} (depth {cell.depth}, batch size {cell.batch_size}): one network needs "
        f"{_gb(needed)}, and there are {_gb(each)} for {those}; take {way_out}smaller widths, or "
        f"allow more (--memory)"
    )


def describe_plan(
    tasks: Sequence[Task], config: MapConfig, samples: MapData, *, workers: int | None = None
) -> str:
    """What is about to be done, in a line: cells, groups, workers, and memory at most."""
    workers = min(cores(workers), len(tasks))
    cells = sum(len(task.cells) for task in tasks)
    largest = sorted((estimate_memory(task, config, samples) for task in tasks), reverse=True)
    groups = f"{len(tasks)} group{'s' * (len(tasks) > 1)}"
    return (
        f"{cells} cell{'s' * (cells > 1)} in {groups} on {workers} worker{'s' * (workers > 1)}, at "
        f"most {_gb(sum(largest[:workers]))} of {_gb(available_memory())}"
    )


def _parameters(cell: Cell, samples: MapData) -> int:
    widths = [samples.features, *[cell.width] * cell.depth, samples.classes]
    return sum((i + 1) * o for i, o in pairwise(widths))


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
