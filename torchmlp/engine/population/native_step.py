"""The step of many networks in C++: step.cpp's of one network, of each in turn, by ctypes.

Networks know nothing of each other, so threads need not wait for each other either: whoever is free
takes the next one through its whole step, in buffers that stay in the thread's cache.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchmlp.engine.population.parameters import Stack
from torchmlp.engine.state.updates import Rule, Slot
from torchmlp.engine.state.workspace import Workspace
from torchmlp.engine.steps import build
from torchmlp.engine.steps.native_step import KEEPS_SLOPES, NativeStep, Step, no_class, threads
from torchmlp.nn.mlp import MLP

# Measured on two cores (benchmarks/population.py): below so many multiplications in all a second
# thread costs more than it takes over.
WORK_FOR_THREADS = 1_000_000


class Population(ctypes.Structure):
    """step.cpp's, field for field."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("size", "threads")),
        *(
            (name, ctypes.c_void_p)
            for name in ("steps", "layers", "merged", "elementwise", "x", "target")
        ),
        *((name, ctypes.c_int64) for name in ("x_stride", "target_stride")),
        *((name, ctypes.c_void_p) for name in ("losses", "frozen")),
    ]


class NativeSteps:
    """One step of all networks, in one call.

    Args:
        compiled: from `build.load`.
        stack: their parameters.
        first: a network whose parameters are the stack's first.
        loss: "cross_entropy", "mse" or "bce".
        rows: B.
        has_labels: whether targets are class indices.
        merged: whether the rules are `SGDUpdate`s.
    """

    def __init__(
        self,
        compiled: ctypes.CDLL,
        stack: Stack,
        first: MLP,
        loss: str,
        rows: int,
        *,
        has_labels: bool,
        merged: bool,
    ) -> None:
        like, size = stack.parameters[0], len(stack.parameters[0])
        self.stack = stack
        self.function: Any = getattr(compiled, f"population_{build.DTYPES[like.dtype]}")
        work = 3 * rows * sum(p.numel() for p in stack.parameters[::2])
        most = threads() if work >= WORK_FOR_THREADS else 1
        # Of fewer networks than threads, all threads share each one's samples.
        together = size < most
        self.threads = 1 if together else most
        self.how = f"C++, {self.threads} network{'s' * (self.threads > 1)} at a time"
        self.kept = [
            NativeStep(
                compiled,
                Workspace(first, rows, 0, is_pixels=False, keeps_slopes=KEEPS_SLOPES),
                loss,
                has_labels=has_labels,
                only_finite=True,
                most_threads=None if together else 1,
            )
            for _ in range(self.threads)
        ]
        self.merged = merged
        slots = [
            Slot(value[0], (value if kept[-1] is None else kept[-1])[0], 0)
            if merged
            else Slot(value[0], None, 0, tuple(t if t is None else t[0] for t in kept))
            for value, kept in zip(stack.parameters, stack.kept, strict=True)
        ]
        for step in self.kept:
            step.bind(slots, merged=merged)
        self.steps = (Step * self.threads)(*(step.step for step in self.kept))
        strides = [p.stride(0) * p.element_size() for p in stack.parameters]
        self.strides = (ctypes.c_int64 * len(strides))(*strides)
        self.all = Population(size=size, threads=self.threads)
        self.all.steps = ctypes.addressof(self.steps)
        self.all.layers = ctypes.addressof(self.strides)
        self.pointer = ctypes.byref(self.all)
        self.known: Sequence[Rule] | None = None

    def take(
        self,
        x: Tensor,
        target: Tensor,
        rules: Sequence[Rule],
        frozen: Tensor,
        losses: Tensor,
    ) -> None:
        """As `BatchedStep.take`; what all networks share may be expanded, and is read in place.

        Raises:
            ValueError: a label that is no class; nothing has been changed then.
        """
        everything = self.all
        if rules is not self.known:
            self.coefficients = table(rules, everything.size)
            address = self.coefficients.ctypes.data
            if self.merged:
                everything.merged = address
            else:
                everything.elementwise = address
            self.known = rules
        everything.x, everything.x_stride = x.data_ptr(), _bytes(x)
        everything.target, everything.target_stride = target.data_ptr(), _bytes(target)
        everything.losses, everything.frozen = losses.data_ptr(), frozen.data_ptr()
        row = self.function(self.pointer)
        if row >= 0:
            raise no_class(target.reshape(-1)[row], self.stack.parameters[-1].shape[1])
        torch.autograd.graph.increment_version(self.stack.tensors)


def table(rules: Sequence[Rule], size: int) -> NDArray[np.float64]:
    """The coefficients as step.cpp reads them: (size, parameters, coefficients)."""
    found = np.empty((size, len(rules), len(rules[0])))
    for place, rule in enumerate(rules):
        for index, number in enumerate(rule):
            found[:, place, index] = number
    return found


def _bytes(batches: Tensor) -> int:
    """From one network's to the next one's; 0 where all have the same."""
    return batches.stride(0) * batches.element_size()
