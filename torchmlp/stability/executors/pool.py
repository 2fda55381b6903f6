"""The tasks of a map, in processes on this machine."""

import os
import pickle
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, resource_tracker
from typing import Any

from torchmlp.stability.executors.errors import ExecutorError
from torchmlp.stability.executors.worker import work
from torchmlp.stability.map.cell import CellResult
from torchmlp.stability.map.config import MapConfig
from torchmlp.stability.map.data import MapData
from torchmlp.stability.map.schedule import cores
from torchmlp.stability.map.task import CellError, Task

TRIES = 3  # of a task whose process is killed
Waiting = deque[tuple[Task, int]]  # and how often it has been tried


def run(
    tasks: Sequence[Task], config: MapConfig, samples: MapData, workers: int | None = None
) -> Iterator[list[CellResult]]:
    """Each task's results as it ends.

    The processes end with this generator, however it ends, and with this process.

    Args:
        tasks: the first ones are begun first.
        config: what they are trained by.
        samples: what they are trained on; each process gets its copy.
        workers: how many processes, of one thread each; None takes the machine's cores.

    Raises:
        CellError: a cell cannot be trained.
        ExecutorError: a task's process was killed, three times.
    """
    # Plain bytes: torch would put tensors into shared memory, of which a container may have 64 MB.
    shared = pickle.dumps((config, samples))
    waiting: Waiting = deque((task, 0) for task in tasks)
    crew: dict[Any, _Worker] = {}
    try:
        while waiting or crew:
            while waiting and len(crew) < cores(workers):
                worker = _Worker(shared)
                crew[worker.pipe] = worker  # first: a Ctrl-C that came meanwhile ends it too
                worker.start()
                worker.give(*waiting.popleft())
            for pipe in connection.wait(list(crew)):
                worker = crew[pipe]
                found = worker.take()
                if found is None:
                    crew.pop(pipe).end()
                    waiting.appendleft((worker.task, _again(worker)))
                    continue
                if waiting:
                    worker.give(*waiting.popleft())
                else:
                    crew.pop(pipe).end()
                if isinstance(found, CellError):
                    raise found
                yield found
    finally:
        for worker in crew.values():
            worker.end()


def _again(worker: "_Worker") -> int:
    """How often the worker's task has been tried; raises where that is enough."""
    tried = worker.tried + 1
    if tried == TRIES:
        cell = worker.task.cells[0]
        how = worker.process.exitcode
        by = signal.Signals(-how).name if how and how < 0 else f"exit code {how}"
        raise ExecutorError(
            f"the process that trains width {cell.width}, depth {cell.depth}, batch size "
            f"{cell.batch_size} was ended from outside {TRIES} times ({by}); where memory is short "
            f"(SIGKILL), take fewer workers or less --memory"
        )
    return tried


class _Worker:
    """A process, and the task it is at."""

    def __init__(self, shared: bytes) -> None:
        context = get_context("spawn")  # torch's threads do not survive a fork
        self.pipe, self.theirs = context.Pipe()
        self.process = context.Process(target=work, args=(self.theirs, shared), daemon=True)

    def start(self) -> None:
        resource_tracker.ensure_running()  # which unblocks the signals that are blocked below
        with _as_a_worker_starts():
            self.process.start()
        self.theirs.close()  # so that its end is the pipe's

    def give(self, task: Task, tried: int) -> None:
        self.task, self.tried = task, tried
        with suppress(OSError):  # it is dead, as the next `take` finds
            self.pipe.send(task)

    def take(self) -> list[CellResult] | CellError | None:
        """What it has sent; None where it is dead."""
        try:
            found: list[CellResult] | CellError = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return None
        return found

    def end(self) -> None:
        if self.process.pid:
            self.process.kill()
            self.process.join()
        self.pipe.close()


@contextmanager
def _as_a_worker_starts() -> Iterator[None]:
    """Environment for new workers: one thread, SIGINT blocked.

    One thread, for whatever library is loaded first; and no Ctrl-C, which is the parent's to take:
    a blocked signal stays blocked in the child, and waits in the parent.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
