"""The step in C++, cpp/step.cpp, called by ctypes over a workspace's buffers."""

import ctypes
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchmlp._compat.torch_internals import handle_of, increment_version
from torchmlp.engine.state.addresses import borrow_batch, overlap, storages
from torchmlp.engine.state.changes import Watch
from torchmlp.engine.state.sgd_update import SGDUpdate
from torchmlp.engine.state.updates import Rule, Slot
from torchmlp.engine.state.workspace import Workspace
from torchmlp.engine.steps.build import DTYPES
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.optimizers import Elementwise, Kept

# By their numbers in activations.h and losses.h.
NUMBER_OF = {name: number for number, name in enumerate(ACTIVATIONS)}
LOSSES = ("cross_entropy", "cross_entropy_of_probabilities", "mse", "bce")
# Those whose slope is no function of their value.
KEEPS_SLOPES = frozenset(
    [
        *("elu", "selu", "softplus", "silu", "gelu", "gelu_tanh", "mish", "hardswish"),
        *("softsign", "logsigmoid"),
    ]
)
# Measured on two cores (benchmarks/step.py, scaling.py). Below so many multiplications a second
# thread costs more than it takes over. A layer of at least so many bytes of weights is shared by
# outputs, so that each thread reads its own rows of W.
WORK_FOR_THREADS = 8_000_000
WEIGHTS_FOR_COLUMNS = 64 * 1024
# From so many rows on, reading the others' rows of W as well is the smaller cost.
ROWS_AGAINST_COLUMNS = 256
# From so many multiplications on, some 100 us, other threads of Python's go on during a step.
WORK_FOR_PYTHON = 4_000_000
# What a step answers, or the row of a label that is no class.
DONE, UNREADABLE, CHANGED, SICK = -1, -2, -3, -4
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


def _pointers(*names: str) -> list[tuple[str, Any]]:
    return [(name, ctypes.c_void_p) for name in names]


class Update(ctypes.Structure):
    """updates.h's, field for field; so are the others."""

    _fields_ = _pointers("value", "into", *Kept._fields, "merged", "elementwise")


class Layer(ctypes.Structure):
    """step.h's."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("fan_in", "fan_out", "activation", "by_columns")),
        *_pointers("weight", "bias", "a", "slope", "dropped", "mask", "delta"),
        ("weight_update", Update),
        ("bias_update", Update),
    ]


class Counter(ctypes.Structure):
    """step.h's."""

    _fields_ = [
        ("count", ctypes.c_void_p),
        ("expected", ctypes.c_double),
        ("is_double", ctypes.c_int),
    ]


class Step(ctypes.Structure):
    """step.h's."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("depth", "rows", "threads", "loss")),
        ("layers", ctypes.POINTER(Layer)),
        *_pointers("x", "pixels", "input", "input_mask", "order", "target"),
        *_pointers("sample_weight", "class_weight"),
        ("smoothing", ctypes.c_double),
        *_pointers("x_tensor", "target_tensor"),
        ("x_bytes", ctypes.c_int64),
        ("target_bytes", ctypes.c_int64),
        ("share", ctypes.c_double),
        ("collected", ctypes.c_int),
        ("updates", ctypes.c_int),
        ("clip_norm", ctypes.c_double),
        ("clip_value", ctypes.c_double),
        ("only_finite", ctypes.c_int),
        ("counters", ctypes.POINTER(Counter)),
        ("counter_count", ctypes.c_int),
        ("result", ctypes.c_void_p),
        ("right", ctypes.c_int64),
    ]


class Epoch(ctypes.Structure):
    """step.h's."""

    _fields_ = [
        ("step", ctypes.POINTER(Step)),
        ("order", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("samples", "x_row", "target_row", "weight_row")),
        ("accumulate", ctypes.c_int),
        *_pointers("merged", "elementwise", "merged_now", "elementwise_now"),
        ("rules", ctypes.c_int),
        ("losses", ctypes.c_void_p),
    ]


class NativeStep:
    """One step over a workspace's buffers, in one call.

    Args:
        library: from `build.load`.
        workspace: the buffers, with slopes for `KEEPS_SLOPES`.
        loss: "cross_entropy", "mse" or "bce".
        has_labels: whether cross-entropy's targets are class indices.
        class_weight: (K,) in the parameters' dtype, of cross-entropy; None for ones.
        label_smoothing: of cross-entropy.
        clip_norm: the longest gradient, of all parameters together; 0 for any.
        clip_value: the largest of its elements; 0 for any.
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
        has_labels: bool,
        class_weight: Tensor | None = None,
        label_smoothing: float = 0.0,
        clip_norm: float = 0.0,
        clip_value: float = 0.0,
        only_finite: bool = False,
        most_threads: int | None = None,
    ) -> None:
        self.workspace = workspace
        # The memory outlives whatever is done to the tensors that are handed out.
        self.kept = [tensor.detach() for tensor in workspace.buffers]
        dtype = workspace.layers[0].weight.dtype
        self.library, self.suffix = library, DTYPES[dtype]
        self.function: Any = getattr(library, f"step_{self.suffix}")
        self.scalar = workspace.ones.new_empty(())
        rows = workspace.rows
        self.work = rows * sum(3 * layer.weight.numel() for layer in workspace.layers)
        if most_threads is None:
            most_threads = threads() if self.work >= WORK_FOR_THREADS else 1
        self.layers = (Layer * len(workspace.layers))()
        for c_layer, layer in zip(self.layers, workspace.layers, strict=True):
            c_layer.fan_out, c_layer.fan_in = layer.weight.shape
            c_layer.activation = NUMBER_OF[layer.activation]
            size = layer.weight.numel() * layer.weight.element_size()
            by_columns = size >= WEIGHTS_FOR_COLUMNS and rows < ROWS_AGAINST_COLUMNS
            c_layer.by_columns = most_threads > 1 and by_columns
            for name in ("weight", "bias", "a", "slope", "dropped", "mask", "delta"):
                setattr(c_layer, name, _address(getattr(layer, name)))
        self.counts_right = loss == "cross_entropy" and has_labels
        if loss == "cross_entropy" and not has_labels:
            loss = "cross_entropy_of_probabilities"
        depth = len(workspace.layers)
        self.step = Step(depth, rows, most_threads, LOSSES.index(loss), self.layers)
        self.step.only_finite, self.step.smoothing = only_finite, label_smoothing
        self.step.clip_norm, self.step.clip_value = clip_norm, clip_value
        self.step.share, self.step.updates = 1.0, 1
        self.step.input_mask = _address(workspace.input_mask)
        self.class_weight = class_weight  # kept alive
        self.step.class_weight = _address(class_weight)
        self.pointer = ctypes.byref(self.step)
        item = workspace.ones.element_size()
        self.x_row = workspace.layers[0].weight.shape[1] * (1 if workspace.is_pixels else item)
        self.target_row = 8 if self.counts_right else workspace.layers[-1].a[:1].nbytes
        self.step.x_bytes, self.step.target_bytes = rows * self.x_row, rows * self.target_row
        self.has_masks = any(workspace.rates)
        if workspace.x is not None:
            self.step.x = _address(workspace.x)
        self.x_name = "pixels" if workspace.is_pixels else "x" if workspace.x is None else "input"
        self.known: Sequence[Rule] = ()
        self.changed: list[Tensor] = []
        self.written: set[int] = set()

    def bind(
        self, slots: Sequence[Slot | None], counters: Sequence[Tensor] = (), *, merged: bool
    ) -> None:
        """Where the parameters' δᵀ a go, and what is to be counted up.

        Args:
            slots: of W_1, b_1, ..., W_L, b_L.
            counters: 0-d tensors, one more after each step.
            merged: whether the rules are `SGDUpdate`s.
        """
        kept = [slot for slot in slots if slot is not None]
        rules = max((slot.rule for slot in kept), default=0) + 1
        width = len(SGDUpdate._fields if merged else Elementwise._fields)
        self.rules = np.zeros((rules, width))  # as the step reads them
        self.known = ()
        updates = [
            update for layer in self.layers for update in (layer.weight_update, layer.bias_update)
        ]
        for update, slot in zip(updates, slots, strict=True):
            update.value = None
            if slot is None:
                continue
            update.value, update.into = slot.value.data_ptr(), _address(slot.into)
            for name, tensor in zip(Kept._fields, slot.kept, strict=True):
                setattr(update, name, _address(tensor))
            rule = self.rules[slot.rule].ctypes.data
            update.merged, update.elementwise = (rule, None) if merged else (None, rule)
        self.counters = (Counter * len(counters))()
        for c, counter in zip(self.counters, counters, strict=True):
            c.count, c.expected = counter.data_ptr(), float(counter)
            c.is_double = counter.dtype == torch.float64
        self.step.counters, self.step.counter_count = self.counters, len(counters)
        # What is written here torch does not see: whoever saved a parameter for a backward pass of
        # their own shall be told that it has changed. What an optimizer keeps nobody saves.
        found = [t for slot in kept for t in (slot.value, slot.into) if t is not None]
        self.changed = list({id(t): t for t in found}.values())
        others = [t for slot in kept for t in slot.kept if t is not None]
        self.written = storages((*self.changed, *others, *counters, *self.kept))

    def set_rules(self, rules: Sequence[Rule]) -> None:
        """The coefficients of the next step."""
        if rules is not self.known:
            self.rules[: len(rules)] = rules or 0.0  # none where all is frozen
            self.known = rules

    def take(
        self,
        x: Tensor,
        target: Tensor,
        rules: Sequence[Rule],
        *,
        weight: Tensor | None = None,
        collected: int = 0,
        share: float = 1.0,
        updates: bool = True,
    ) -> Tensor:
        """Run the layers, scan the deltas, descend; the loss before the step.

        Args:
            x: (rows, in_features), contiguous.
            target: of as many rows, contiguous.
            rules: of the step.
            weight: of each row, in the parameters' dtype; None for ones.
            collected: batches whose gradients the buffers hold already.
            share: this batch's in the gradient.
            updates: whether the optimizer's step is taken.

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
        self.set_rules(rules)
        step.collected, step.share, step.updates = collected, share, updates
        step.sample_weight = _address(weight)
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
        if row >= 0:
            raise no_class(target[row], self.workspace.layers[-1].weight.shape[0])
        increment_version(self.changed)
        return loss

    def _call(self, x: Tensor, target: Tensor) -> int:
        step = self.step
        setattr(step, self.x_name, x.data_ptr())
        step.target = target.data_ptr()
        step.x_tensor, step.target_tensor = handle_of(x), handle_of(target)
        row: int = self.function(self.pointer)
        return row

    def take_epoch(
        self,
        x: Tensor,
        target: Tensor,
        order: Tensor | None,
        rules: NDArray[np.float64],
        *,
        merged: bool,
        weight: Tensor | None = None,
        collected: int = 0,
        accumulate: int = 1,
    ) -> Tensor:
        """Steps over samples that lie together, in one call: the losses of those that were taken.

        Args:
            x: (samples, in_features), contiguous, and readable, as is all that follows.
            target: of as many rows.
            order: the samples, in the order in which they are taken; None for their own.
            rules: (steps, rules, coefficients).
            merged: whether they are `SGDUpdate`s.
            weight: of each sample.
            collected: batches whose gradients the buffers hold already.
            accumulate: batches to a step of the optimizer.

        Raises:
            ValueError: a label that is no class; nothing has been changed then.
        """
        step, rows = self.step, self.workspace.rows
        samples = len(x if order is None else order)
        losses = self.scalar.new_empty(-(-samples // rows))
        step.collected, step.share = collected, 1.0 / accumulate
        step.sample_weight = _address(weight)
        setattr(step, self.x_name, x.data_ptr())
        step.target = target.data_ptr()
        self.known = ()
        now, table = self.rules.ctypes.data, rules.ctypes.data
        every = Epoch(
            step=ctypes.pointer(step),
            order=_address(order),
            samples=samples,
            x_row=self.x_row,
            target_row=self.target_row,
            weight_row=self.scalar.element_size(),
            accumulate=accumulate,
            rules=len(self.rules),
            losses=losses.data_ptr(),
        )
        if merged:
            every.merged, every.merged_now = table, now
        else:
            every.elementwise, every.elementwise_now = table, now
        function: Any = getattr(self.library, f"epoch_{self.suffix}")
        taken = function(ctypes.byref(every))
        if taken < 0:
            place = -1 - taken
            wrong = target[place if order is None else int(order[place])]
            raise no_class(wrong, self.workspace.layers[-1].weight.shape[0])
        increment_version(self.changed)
        return losses[:taken]

    def right(self, labels: Tensor) -> int | Tensor:
        """How many rows had their largest output at `labels`, the step's own."""
        if self.counts_right:
            return int(self.step.right)
        return (self.workspace.layers[-1].a.argmax(-1) == labels).sum()


class _Ready(ctypes.Structure):
    """step.h's Ready."""

    _fields_ = [
        ("expectations", ctypes.c_void_p),
        ("count", ctypes.c_int),
        ("places", ctypes.c_void_p),
        ("tensors", ctypes.c_int),
        ("is_long", ctypes.c_int),
        *_pointers("x", "target", "x_goes_to"),
        ("step", ctypes.POINTER(Step)),
        ("rules", ctypes.c_void_p),
        ("rule_bytes", ctypes.c_int64),
        ("steps_left", ctypes.c_int64),
        ("rules_now", ctypes.c_void_p),
    ]


class ReadyStep:
    """The last step again, for a batch like the last one: all that is asked of it is asked in C++.

    Args:
        native: the step.
        watch: for all that must be as it was.
        x: the last batch.
        target: its target.
        rules: (steps, rules, coefficients) of the steps from here on; None where they stay as they
            are.
    """

    def __init__(
        self,
        native: NativeStep,
        watch: Watch,
        x: Tensor,
        target: Tensor,
        rules: NDArray[np.float64] | None,
    ) -> None:
        self.native, self.watch, self.rules = native, watch, rules
        self.places = watch.places_of((x, target))
        held = ctypes.PyDLL(native.library._name)  # noqa: SLF001  with the GIL, for Python's objects
        self.function: Any = getattr(held, f"ready_{native.suffix}")
        self.function.argtypes, self.function.restype = [ctypes.c_void_p] * 4, ctypes.c_int64
        step, own = native.step, _Ready()
        own.expectations, own.count, own.places, own.tensors = watch.arguments
        own.is_long = native.work >= WORK_FOR_PYTHON
        own.x, own.target = (ctypes.addressof(place) for place in self.places)
        own.x_goes_to = ctypes.addressof(step) + getattr(Step, native.x_name).offset
        own.step = ctypes.pointer(step)
        own.rules_now = native.rules.ctypes.data
        self.own = own
        if rules is not None:
            self.refill(rules)
        self.pointer, self.threads = ctypes.byref(own), threads()
        self.like, self.changed = native.scalar, native.changed

    @property
    def is_used_up(self) -> bool:
        """Whether the rules that it was given have all been used."""
        return self.rules is not None and not self.own.steps_left

    def refill(self, rules: NDArray[np.float64]) -> None:
        """Go on with these."""
        self.rules, self.native.known = rules, ()
        self.own.rules, self.own.steps_left = rules.ctypes.data, len(rules)
        self.own.rule_bytes = rules[0].nbytes

    def take(self, x: Tensor, target: Tensor) -> tuple[int, Tensor]:
        """What the step answers, and the loss; CHANGED where it has to be made ready anew."""
        loss = torch.empty_like(self.like)
        if (
            not (x.__class__ is target.__class__ is loss.__class__ is Tensor)
            or x.requires_grad
            or target.requires_grad
            or x.is_neg()
            or target.is_neg()
            or self.threads != threads()
            or self.watch.are_swapped()
        ):
            return CHANGED, loss
        answer = self.function(self.pointer, x._cdata, target._cdata, loss.data_ptr())  # noqa: SLF001  torch's own object
        if answer in (DONE, SICK):
            increment_version(self.changed)
        return answer, loss


def unsupported_natively(parameters: Sequence[Tensor], rows: int = 0) -> str:
    """What keeps a step from being taken in C++; "" where nothing does."""
    like = parameters[0]
    sizes = (rows, *(size for p in parameters for size in p.shape))
    reasons = {
        f"parameters are on {like.device}": like.device.type != "cpu",
        f"parameters are {like.dtype}": like.dtype not in DTYPES,
        "a parameter is not contiguous": not all(p.is_contiguous() for p in parameters),
        "a parameter is negated when it is read": any(p.is_neg() for p in parameters),
        "parameters share memory": overlap(parameters),
        f"{max(sizes)} rows or columns are more than 32 bits count": max(sizes) > LARGEST,
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
