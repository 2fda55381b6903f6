"""The step in C++: compiled on demand, kept in the user's cache, called by ctypes.

step.cpp reads none of torch's headers and calls the BLAS that torch's library exports, so that a
compiler needs two seconds and nothing else. Where there is no compiler, or no such BLAS, steps are
taken in torch's operators.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchmlp.training.engine.descent import Descent, Slot
from torchmlp.training.engine.workspace import Workspace

SOURCE = Path(__file__).with_name("step.cpp")
# By their numbers in step.cpp.
ACTIVATIONS = ("identity", "relu", "leaky_relu", "sigmoid", "tanh", "hardtanh", "relu6")
LOSSES = ("cross_entropy", "mse")
FUNCTIONS = {torch.float32: "step_float32", torch.float64: "step_float64"}
# Below so many multiplications a second thread costs more than it takes over. A layer of at least
# so many bytes of weights is shared by outputs, so that each thread reads its own rows of W.
WORK_FOR_THREADS = 8_000_000
WEIGHTS_FOR_COLUMNS = 64 * 1024
# From so many rows on, reading the others' rows of W as well is the smaller cost.
ROWS_AGAINST_COLUMNS = 256


class _Descent(ctypes.Structure):
    _fields_ = [(name, ctypes.c_double) for name in Descent._fields]


class _Update(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("into", ctypes.c_void_p),
        ("descent", ctypes.POINTER(_Descent)),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("fan_in", "fan_out", "activation", "by_columns")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "a", "dropped", "mask", "delta")),
        ("weight_update", _Update),
        ("bias_update", _Update),
    ]


class _Step(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("depth", "rows", "threads", "loss")),
        ("layers", ctypes.POINTER(_Layer)),
        *(
            (name, ctypes.c_void_p)
            for name in ("x", "pixels", "input", "input_mask", "target", "result")
        ),
        ("right", ctypes.c_int64),
    ]


class NativeStep:
    """One step over a workspace's buffers, in one call.

    Args:
        library: from `load`.
        workspace: the buffers.
        loss: one of `LOSSES`.
    """

    def __init__(self, library: ctypes.CDLL, workspace: Workspace, loss: str) -> None:
        self.workspace = workspace
        dtype = workspace.layers[0].weight.dtype
        self.function: Any = getattr(library, FUNCTIONS[dtype])
        self.new = workspace.ones.new_empty
        rows = workspace.rows
        work = rows * sum(3 * layer.weight.numel() for layer in workspace.layers)
        threads = torch.get_num_threads() if work >= WORK_FOR_THREADS else 1
        self.layers = (_Layer * len(workspace.layers))()
        for c_layer, layer in zip(self.layers, workspace.layers, strict=True):
            c_layer.fan_out, c_layer.fan_in = layer.weight.shape
            c_layer.activation = ACTIVATIONS.index(layer.activation)
            size = layer.weight.numel() * layer.weight.element_size()
            by_columns = size >= WEIGHTS_FOR_COLUMNS and rows < ROWS_AGAINST_COLUMNS
            c_layer.by_columns = threads > 1 and by_columns
            for name in ("weight", "bias", "a", "dropped", "mask", "delta"):
                setattr(c_layer, name, _address(getattr(layer, name)))
        self.step = _Step(len(workspace.layers), rows, threads, LOSSES.index(loss), self.layers)
        self.step.x = _address(workspace.x)
        self.step.input_mask = _address(workspace.input_mask)
        self.pointer = ctypes.byref(self.step)
        self.counts_right = loss == "cross_entropy"
        self.has_masks = any(workspace.rates)
        self.is_written = workspace.x is not None
        self.descents = (_Descent * 0)()
        self.known: Sequence[Descent] = ()
        self.changed: list[Tensor] = []

    def bind(self, slots: Sequence[Slot | None]) -> None:
        """Where the parameters' δᵀ a go: of W_1, b_1, ..., W_L, b_L."""
        kept = [slot for slot in slots if slot is not None]
        self.descents = (_Descent * (max((slot.descent for slot in kept), default=0) + 1))()
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

    def take(self, x: Tensor, target: Tensor, descents: Sequence[Descent]) -> Tensor:
        """Run the layers, scan the deltas, descend; the loss before the step.

        Raises:
            ValueError: a label that is no class; nothing has been changed then.
        """
        step = self.step
        if descents is not self.known:
            for mine, descent in zip(self.descents, descents, strict=False):
                mine.__init__(*descent)
            self.known = descents
        if self.has_masks:
            self.workspace.draw_masks()
        if self.workspace.is_pixels:
            step.pixels = x.data_ptr()
        elif self.is_written:
            step.input = x.data_ptr()
        else:
            step.x = x.data_ptr()
        loss = self.new(())
        step.target, step.result = target.data_ptr(), loss.data_ptr()
        row = self.function(self.pointer)
        if row >= 0:
            classes = self.workspace.layers[-1].weight.shape[0]
            raise ValueError(
                f"cross_entropy: label {int(target[row])} is outside the {classes} "
                f"classes 0..{classes - 1}; fix the labels or out_features"
            )
        torch.autograd.graph.increment_version(self.changed)
        return loss

    def right(self, labels: Tensor) -> int | Tensor:
        """How many rows had their largest output at `labels`, the step's own."""
        if self.counts_right:
            return int(self.step.right)
        return (self.workspace.layers[-1].a.argmax(-1) == labels).sum()


def why_not_native(workspace: Workspace, target: Tensor, loss: str) -> str:
    """What keeps a step from being taken in C++; "" where nothing does."""
    like = workspace.ones
    has_labels = loss == "cross_entropy" and not target.is_floating_point()
    has_values = loss == "mse" and target.dtype == like.dtype
    names = dict.fromkeys(layer.activation for layer in workspace.layers)
    strange = [name for name in names if name not in ACTIVATIONS]
    reasons = {
        f"parameters are on {like.device}": like.device.type != "cpu",
        f"parameters are {like.dtype}": like.dtype not in FUNCTIONS,
        f"{', '.join(strange)} has no C++ form": bool(strange),
        "a weight is not contiguous": not all(x.weight.is_contiguous() for x in workspace.layers),
        f"{loss} of {target.dtype} targets has no C++ form": not (has_labels or has_values),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


class NoNativeStepError(RuntimeError):
    """The step cannot be compiled or loaded here; says why."""


@cache
def load() -> ctypes.CDLL:
    """The compiled step, built if this machine has not got it yet.

    Kept in $XDG_CACHE_HOME/torchmlp (default ~/.cache/torchmlp), one file for each source, torch
    and processor. `TORCHMLP_NATIVE=0` in the environment forbids it.

    Raises:
        NoNativeStepError: no compiler ($CXX, or c++), no BLAS in torch's library, no place to
            write.
    """
    if os.environ.get("TORCHMLP_NATIVE") == "0":
        raise NoNativeStepError("TORCHMLP_NATIVE=0 forbids it")
    path = _place()
    try:
        library = ctypes.CDLL(str(path))
    except OSError:  # not there, or damaged
        library = _built(path)
    for name in FUNCTIONS.values():
        function = getattr(library, name)
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_int
    return library


def _built(path: Path) -> ctypes.CDLL:
    try:
        _build(path)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NoNativeStepError(f"{type(error).__name__}: {error}") from error


def _build(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    libraries = Path(torch.__file__).parent / "lib"
    common = [*shlex.split(os.environ.get("CXX", "c++")), "-std=c++17", "-O3", "-march=native"]
    common += ["-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC", str(SOURCE)]
    common += [f"-L{libraries}", "-ltorch_cpu", "-Wl,--no-undefined"]
    error = ""
    # Processes that build at once each rename a whole file; without glibc's vector functions the
    # compiler's own loops do.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / "step.so"
        for extra in (["-DHAS_VECTOR_MATH"], []):
            words = [*common, *extra, "-lm", "-o", str(part)]
            run = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
            if run.returncode == 0:
                part.replace(path)
                return
            error = run.stderr.strip().splitlines()[-1] if run.stderr.strip() else "failed"
    raise NoNativeStepError(f"{common[0]}: {error}")


def _place() -> Path:
    processor = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        processor = next((line for line in lines if line.startswith("flags")), processor)
    parts = [SOURCE.read_text(encoding="utf-8"), torch.__version__, torch.__file__, processor]
    parts += [platform.machine(), os.environ.get("CXX", "c++")]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "torchmlp" / f"step-{name}.so"


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
