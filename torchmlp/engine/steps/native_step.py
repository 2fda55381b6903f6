"""The step in C++, step.cpp, called by ctypes over a workspace's buffers."""

import ctypes
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchmlp._compat.torch_internals import handle_of
from torchmlp.engine.state.addresses import borrow_batch, overlap, storages
from torchmlp.engine.state.sgd_update import SGDUpdate, Slot
from torchmlp.engine.state.workspace import Workspace
from torchmlp.engine.steps.build import DTYPES

# By their numbers in step.cpp.
ACTIVATIONS = ("identity", "relu", "leaky_relu", "sigmoid", "tanh", "hardtanh", "relu6")
LOSSES = ("cross_entropy", "mse")
# Measured on two cores (benchmarks/step.py, scaling.py). Below so many multiplications a second
# thread costs more than it takes over. A layer of at least so many bytes of weights is shared by
# outputs, so that each thread reads its own rows of W.
WORK_FOR_THREADS = 8_000_000
WEIGHTS_FOR_COLUMNS = 64 * 1024
# From so many rows on, reading the others' rows of W as well is the smaller cost.
ROWS_AGAINST_COLUMNS = 256
DONE, UNREADABLE = -1, -2  # what a step answers, or the row of a label that is no class
LARGEST = 2**31 - 1  # BLAS counts rows and columns in 32 bits


class _Fork:
    """Whether this process lost OpenMP's threads to a fork: waiting for them would never end."""

    had_threads = has_lost_threads = False


def _before_a_fork() -> None:
    tasks = Path("/proc/self/task")  # Python's own threads, and others'
    count = len(list(tasks.iterdir())) if tasks.is_dir() else 2
    _Fork.had_threads = count > threading.active_count()


def _in_the_child() -> None:
    _Fork.has_lost_threads = _Fork.has_lost_threads or _Fork.had_threads


os.register_at_fork(before=_before_a_fork, after_in_child=_in_the_child)


def threads() -> int:
    """How many a step may take: torch's number; one in a fork of a process that had them."""
    return 1 if _Fork.has_lost_threads else torch.get_num_threads()


class _SGDUpdate(ctypes.Structure):
    _fields_ = [(name, ctypes.c_double) for name in SGDUpdate._fields]


class _Update(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("into", ctypes.c_void_p),
        ("descent", ctypes.POINTER(_SGDUpdate)),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("fan_in", "fan_out", "activation", "by_columns")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "a", "dropped", "mask", "delta")),
        ("weight_update", _Update),
        ("bias_update", _Update),
    ]


class Step(ctypes.Structure):
    """step.cpp's, field for field."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("depth", "rows", "threads", "loss")),
        ("layers", ctypes.POINTER(_Layer)),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "x",
                "pixels",
                "input",
                "input_mask",
                "target",
                "x_tensor",
                "target_tensor",
            )
        ),
        ("x_bytes", ctypes.c_int64),
        ("target_bytes", ctypes.c_int64),
        ("result", ctypes.c_void_p),
        ("right", ctypes.c_int64),
        ("only_finite", ctypes.c_int),
    ]


class NativeStep:
    """One step over a workspace's buffers, in one call.

    Args:
        library: from `build.load`.
        workspace: the buffers.
        loss: one of `LOSSES`.
        only_finite: whether a loss that is not finite leaves the parameters as they are.
        most_threads: that may share the samples; None takes as many as torch where that is worth
            it.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        workspace: Workspace,
        loss: str,
        *,
        only_finite: bool = False,
        most_threads: int | None = None,
    ) -> None:
        self.workspace = workspace
        # The memory outlives whatever is done to the tensors that are handed out.
        self.kept = [tensor.detach() for tensor in workspace.buffers]
        dtype = workspace.layers[0].weight.dtype
        self.function: Any = getattr(library, f"step_{DTYPES[dtype]}")
        self.scalar = workspace.ones.new_empty(())
        rows = workspace.rows
        work = rows * sum(3 * layer.weight.numel() for layer in workspace.layers)
        if most_threads is None:
            most_threads = threads() if work >= WORK_FOR_THREADS else 1
        self.layers = (_Layer * len(workspace.layers))()
        for c_layer, layer in zip(self.layers, workspace.layers, strict=True):
            c_layer.fan_out, c_layer.fan_in = layer.weight.shape
            c_layer.activation = ACTIVATIONS.index(layer.activation)
            size = layer.weight.numel() * layer.weight.element_size()
            by_columns = size >= WEIGHTS_FOR_COLUMNS and rows < ROWS_AGAINST_COLUMNS
            c_layer.by_columns = most_threads > 1 and by_columns
            for name in ("weight", "bias", "a", "dropped", "mask", "delta"):
                setattr(c_layer, name, _address(getattr(layer, name)))
        depth = len(workspace.layers)
        self.step = Step(depth, rows, most_threads, LOSSES.index(loss), self.layers)
        self.step.only_finite = only_finite
        self.step.x = _address(workspace.x)
        self.step.input_mask = _address(workspace.input_mask)
        self.pointer = ctypes.byref(self.step)
        self.counts_right = loss == "cross_entropy"
        self.step.x_bytes = (
            rows
            * workspace.layers[0].weight.shape[1]
            * (1 if workspace.is_pixels else workspace.ones.element_size())
        )
        self.step.target_bytes = rows * (
            8 if self.counts_right else workspace.layers[-1].a[:1].nbytes
        )
        self.has_masks = any(workspace.rates)
        self.is_written = workspace.x is not None
        self.descents = (_SGDUpdate * 0)()
        self.known: Sequence[SGDUpdate] = ()
        self.changed: list[Tensor] = []
        self.written: set[int] = set()

    def bind(self, slots: Sequence[Slot | None]) -> None:
        """Where the parameters' δᵀ a go: of W_1, b_1, ..., W_L, b_L."""
        kept = [slot for slot in slots if slot is not None]
        self.descents = (_SGDUpdate * (max((slot.descent for slot in kept), default=0) + 1))()
        self.known = ()
        updates = [
            update for layer in self.layers for update in (layer.weight_update, layer.bias_update)
        ]
        for update, slot in zip(updates, slots, strict=True):
            update.into = None
            if slot is not None:
                update.value, update.into = slot.value.data_ptr(), slot.into.data_ptr()
                update.descent = ctypes.pointer(self.descents[slot.descent])
        # What is written here torch does not see: whoever saved a parameter for a backward pass of
        # their own shall be told that it has changed.
        self.changed = list({id(t): t for slot in kept for t in (slot.value, slot.into)}.values())
        self.written = storages((*self.changed, *self.kept))

    def take(self, x: Tensor, target: Tensor, descents: Sequence[SGDUpdate]) -> Tensor:
        """Run the layers, scan the deltas, descend; the loss before the step.

        Raises:
            ValueError: a label that is no class; nothing has been changed then.
        """
        step = self.step
        loss = torch.empty_like(self.scalar)
        if type(loss) is not Tensor or not (result := loss.data_ptr()):
            raise ValueError(
                "Engine.step: a tensor that is made here has no memory (FakeTensorMode, "
                "functionalize); step outside of such a mode"
            )
        if descents is not self.known:
            for k, descent in enumerate(descents):
                self.descents[k] = _SGDUpdate(*descent)  # copied to its place
            self.known = descents
        if self.has_masks:
            self.workspace.draw_masks()
        step.result = result
        try:
            row = self._call(x, target)
        except RuntimeError:  # torch refuses the address of what has no memory
            row = UNREADABLE
        if row == UNREADABLE:
            # By these names the copies are kept until the call is over.
            x, target = borrow_batch(x, target, "Engine.step", self.written)
            row = self._call(x, target)
        if row != DONE:
            raise no_class(target[row], self.workspace.layers[-1].weight.shape[0])
        torch.autograd.graph.increment_version(self.changed)
        return loss

    def _call(self, x: Tensor, target: Tensor) -> int:
        step = self.step
        if self.workspace.is_pixels:
            step.pixels = x.data_ptr()
        elif self.is_written:
            step.input = x.data_ptr()
        else:
            step.x = x.data_ptr()
        step.target = target.data_ptr()
        step.x_tensor, step.target_tensor = handle_of(x), handle_of(target)
        row: int = self.function(self.pointer)
        return row

    def right(self, labels: Tensor) -> int | Tensor:
        """How many rows had their largest output at `labels`, the step's own."""
        if self.counts_right:
            return int(self.step.right)
        return (self.workspace.layers[-1].a.argmax(-1) == labels).sum()


def unsupported_natively(workspace: Workspace, target: Tensor, loss: str) -> str:
    """What keeps a step from being taken in C++; "" where nothing does."""
    like = workspace.ones
    has_labels = loss == "cross_entropy" and not target.is_floating_point()
    has_values = loss == "mse" and target.dtype == like.dtype
    names = dict.fromkeys(layer.activation for layer in workspace.layers)
    strange = [name for name in names if name not in ACTIVATIONS]
    parameters = [p for x in workspace.layers for p in (x.weight, x.bias) if p is not None]
    sizes = (workspace.rows, *(size for p in parameters for size in p.shape))
    reasons = {
        f"parameters are on {like.device}": like.device.type != "cpu",
        f"parameters are {like.dtype}": like.dtype not in DTYPES,
        f"{', '.join(strange)} has no C++ form": bool(strange),
        "a parameter is not contiguous": not all(p.is_contiguous() for p in parameters),
        "a parameter is negated when it is read": any(p.is_neg() for p in parameters),
        "parameters share memory": overlap(parameters),
        f"{max(sizes)} rows or columns are more than 32 bits count": max(sizes) > LARGEST,
        f"{loss} of {target.dtype} targets has no C++ form": not (has_labels or has_values),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def no_class(label: Tensor, classes: int) -> ValueError:
    """What is wrong with a label."""
    return ValueError(
        f"cross_entropy: label {int(label)} is outside the {classes} classes 0..{classes - 1}; fix "
        f"the labels or out_features"
    )


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
