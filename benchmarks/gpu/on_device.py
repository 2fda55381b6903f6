"""The device that is measured, its clock, and what stands in for both in a rehearsal."""

import os
import time
from collections.abc import Callable
from typing import Any

import torch

from torchmlp.engine.steps import cuda_graph

IS_REHEARSAL = os.environ.get("GPU_REHEARSAL") == "1"
DEVICE = torch.device("cpu" if IS_REHEARSAL else "cuda")


def plainly(run: Callable[[], None]) -> Callable[[], object]:
    """What a CUDA graph does: it runs, and runs again on the same memory."""
    run()
    return run


def capture(run: Callable[[], None]) -> Callable[[], object]:
    """What replays `run` on the device."""
    return plainly(run) if IS_REHEARSAL else cuda_graph.captured(run, DEVICE)


if IS_REHEARSAL:  # an engine on a CPU takes the step that it takes on a GPU
    cuda_graph.rehearsal = plainly


def name() -> str:
    """The device's, as rows have it."""
    return "cpu, rehearsed" if IS_REHEARSAL else torch.cuda.get_device_name()


def synchronize() -> None:
    """Wait until all that was asked for is done."""
    if not IS_REHEARSAL:
        torch.cuda.synchronize()


class OnDevice:
    """Turns of a function, timed on the device; see `timing.Turns`."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call

    def turn(self, calls: int) -> float:
        """Seconds that so many calls take, after one that is not timed.

        By CUDA's events: from the first call's first kernel to the last one's end, whichever of
        the two, the program or the device, is behind.
        """
        self.call()
        synchronize()
        if IS_REHEARSAL:
            start = time.perf_counter()
            for _ in range(calls):
                self.call()
            return time.perf_counter() - start
        timed: Any = torch.cuda.Event  # without types
        begin, end = timed(enable_timing=True), timed(enable_timing=True)
        begin.record()
        for _ in range(calls):
            self.call()
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end)) / 1e3


class Clock:
    """What is left of the time a part was given."""

    def __init__(self) -> None:
        self.end = time.monotonic() + float(os.environ.get("GPU_SECONDS", "60"))

    def left(self) -> float:
        """In seconds; negative once it is over."""
        return self.end - time.monotonic()
