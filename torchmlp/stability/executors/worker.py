"""What a process of the pool does: tasks, until it is ended.

Nothing of torch is imported before the watch over the parent has begun.
"""

import os
import pickle
import threading
from multiprocessing import connection, parent_process
from typing import Any


def work(pipe: Any, shared: bytes) -> None:
    """Take tasks out of a pipe, and put their results into it.

    Args:
        pipe: a multiprocessing connection.
        shared: config and data, pickled.
    """
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    from torchmlp.stability.map.task import CellError, run_task  # noqa: PLC0415  the watch comes first

    config, samples = pickle.loads(shared)  # noqa: S301  from the parent
    while True:
        task = pipe.recv()
        try:
            pipe.send(run_task(task, config, samples))
        except CellError as error:
            pipe.send(error)


def _end_with_the_parent() -> None:
    """Exit when the parent process dies."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
