"""How many threads a computation takes: what is small is quicker on one.

Torch wakes its threads for single operations, an exponential of 320 numbers among them, and waits
for each of them every time. Where another program has the core that one of them needs, a small
network's step takes fifty times as long.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.utils.flop_counter import FlopCounterMode

# Measured on two cores (benchmarks/step.py): below so many multiplications a step is quicker on one
# thread, with nothing beside it.
WORK_WORTH_WAKING = 100_000_000


@contextmanager
def threads_for(multiplications: float) -> Iterator[None]:
    """Inside, torch takes one thread where there is little to do, and as many as ever elsewhere."""
    threads = torch.get_num_threads()
    if threads == 1 or multiplications >= WORK_WORTH_WAKING:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def multiplications_of_step(run: Callable[[], object]) -> float:
    """Of a training step, forward and backward pass, from one run of the forward pass.

    Those of products and convolutions; infinite where they cannot be counted. An error that the
    run raises is left for the caller to meet.
    """
    try:
        with threads_for(0.0), FlopCounterMode(display=False) as counter:
            run()
    except Exception:  # noqa: BLE001  somebody's model may raise anything
        return float("inf")
    # A multiplication and an addition are two operations; the backward pass has two products for
    # each of the forward pass.
    return float(counter.get_total_flops()) * 3 / 2
