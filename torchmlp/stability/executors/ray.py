"""The tasks of a map, on a Ray cluster."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torchmlp.stability.executors.errors import ExecutorError
from torchmlp.stability.map.cell import CellResult
from torchmlp.stability.map.config import MapConfig
from torchmlp.stability.map.data import MapData
from torchmlp.stability.map.schedule import cores, estimate_memory
from torchmlp.stability.map.task import Task, run_task

RETRIES = 3  # of a task whose process or machine is lost
STORE = (
    100_000_000  # bytes of a local cluster's object store, beside the samples; Ray's least is 75e6
)


def run(
    tasks: Sequence[Task], config: MapConfig, samples: MapData, workers: int | None = None
) -> Iterator[list[CellResult]]:
    """Each task's results as it ends.

    The cluster is the one that this process is connected to, or that of RAY_ADDRESS; without one,
    a local one is started, and ended with this generator.

    Args:
        tasks: the first ones are begun first.
        config: what they are trained by; its classes can be imported on every machine.
        samples: what they are trained on; put into the cluster's memory once.
        workers: CPUs of a local cluster; None takes the machine's cores.

    Raises:
        CellError: a cell cannot be trained.
        ExecutorError: there is no Ray, no machine has the memory of a task, or a task's process was
            lost four times.
    """
    try:
        import ray  # noqa: PLC0415  an extra
    except ImportError as error:
        raise ExecutorError(
            f'engine ray needs Ray, which is not there ({error}): pip install "torchmlp[ray]", or '
            f"take engine pool"
        ) from error
    with _cluster(ray, cores(workers), STORE + 2 * samples.size_bytes):
        shared = ray.put((config, samples))
        train = ray.remote(num_cpus=1, max_retries=RETRIES)(_train)
        needs = [estimate_memory(task, config, samples) for task in tasks]
        _check(ray, max(needs, default=0))
        pending = [
            train.options(memory=need).remote(task, shared)
            for task, need in zip(tasks, needs, strict=True)
        ]
        while pending:
            done, pending = ray.wait(pending)
            yield _result(ray, done[0])


def _train(task: Task, shared: tuple[MapConfig, MapData]) -> list[CellResult]:
    return run_task(task, *shared)


def _result(ray: Any, done: Any) -> list[CellResult]:
    try:
        found: list[CellResult] = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExecutorError(f"Ray lost a task {RETRIES + 1} times: {reason}") from error
    return found


def _check(ray: Any, needed: int) -> None:
    """Compare what a task needs with the machines: Ray would wait for a larger one for ever."""
    there = max(node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"])
    if needed > there:
        raise ExecutorError(
            f"a group of cells needs {needed / 1e9:.1f} GB, and the cluster's largest machine has "
            f"{there / 1e9:.1f} GB for tasks; take smaller widths, or less --memory so that the "
            f"groups are smaller"
        )


@contextmanager
def _cluster(ray: Any, workers: int, store: int) -> Iterator[None]:
    """Connected to a cluster inside; a local one that was started here is ended."""
    if ray.is_initialized():
        yield
        return
    local: dict[str, Any] = {}
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": store}
    ray.init(log_to_driver=False, logging_level="error", **local)
    try:
        yield
    finally:
        ray.shutdown()
