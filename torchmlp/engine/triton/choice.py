"""Which way of a GPU's step is the faster: measured once, where it is bound, on the device itself.

TORCHMLP_TRITON=0 forbids the kernels, 1 takes them without measuring. Triton is imported here and
not before: it needs a GPU, or its interpreter, and may be missing.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch.optim import Optimizer

from torchmlp.engine.state.sgd_update import gradient_only
from torchmlp.engine.state.updates import Slot
from torchmlp.engine.steps.cuda_graph import GraphStep
from torchmlp.engine.steps.mixed_step import MixedStep
from torchmlp.engine.steps.torch_step import TorchStep

if TYPE_CHECKING:
    from torchmlp.engine.triton.update import TritonUpdate

ROUNDS, CALLS = 5, 20
# What is faster by less may be so by chance, and torch's own is what was tested longest.
MARGIN = 0.97

_chosen: dict[Any, str] = {}  # by what was measured, for the process


@runtime_checkable
class TakesStep(Protocol):
    """What takes an optimizer's step."""

    def step(self) -> Any:
        """Take it."""
        ...


def quickest(
    ways: Mapping[str, Callable[[], object]], device: torch.device, clock: Callable[[], float]
) -> str:
    """The name of the way that takes the least time, the first unless another is clearly faster."""
    times = dict.fromkeys(ways, math.inf)
    for _ in range(ROUNDS):
        for name, take in ways.items():
            _wait(device)
            start = clock()
            for _ in range(CALLS):
                take()
            _wait(device)
            times[name] = min(times[name], clock() - start)
    first = next(iter(times))
    best = min(times, key=lambda name: times[name])
    return best if times[best] < MARGIN * times[first] else first


def _asked() -> str:
    """The way that the environment asks for; "" where it leaves it open."""
    return {"0": "torch", "1": "kernels"}.get(os.environ.get("TORCHMLP_TRITON", ""), "")


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def faster_step(
    plain: TorchStep,
    x: torch.Tensor,
    target: torch.Tensor,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[TorchStep, str]:
    """The step in torch's operators, or with Triton's kernels; and in words.

    Args:
        plain: in torch's operators; the other uses its buffers.
        x: a batch. Nothing but the buffers is changed.
        target: its targets, (rows,) or (rows, classes).
        clock: in seconds.
    """
    workspace, torchs = plain.workspace, "a CUDA graph of torch's operators"
    asked = _asked()
    if asked == "torch":
        return plain, torchs
    other, reason = _with_kernels(plain)
    if other is None:
        return plain, f"{torchs}{reason}"
    x = x.reshape(workspace.rows, -1)
    sizes = tuple((*layer.weight.shape, layer.activation) for layer in workspace.layers)
    masks = (workspace.input_mask is not None, workspace.layers[0].mask is not None)
    dtypes = (x.dtype, target.dtype, workspace.ones.dtype)
    key = (
        asked,
        "step",
        sizes,
        workspace.rows,
        *masks,
        *dtypes,
        plain.loss,
        workspace.lowest,
        x.device,
    )
    if key not in _chosen:
        try:
            _chosen[key] = asked or _measured(plain, other, x, target, clock)
        except Exception as error:  # noqa: BLE001  whatever a compiler may say: torch's is there
            _chosen[key] = f"; Triton's kernels failed: {type(error).__name__}"
    if _chosen[key] == "kernels":
        return other, "a CUDA graph of torch's operators and Triton's kernels"
    return plain, f"{torchs}{_chosen[key].removeprefix('torch')}"


def _with_kernels(plain: TorchStep) -> tuple[TorchStep | None, str]:
    try:
        from torchmlp.engine.triton.step import (  # noqa: PLC0415  only where there is a GPU
            DTYPES,
            TritonMixedStep,
            TritonStep,
        )
    except ImportError:
        return None, " (no Triton)"
    if plain.workspace.ones.dtype not in DTYPES:
        return None, ""
    if isinstance(plain, MixedStep):
        is_scaled = plain.factor is not None
        return TritonMixedStep(plain.mixed, plain.loss, is_scaled=is_scaled, **plain.weighting), ""
    return TritonStep(plain.workspace, plain.loss, **plain.weighting), ""


def _measured(
    plain: TorchStep,
    other: TorchStep,
    x: torch.Tensor,
    target: torch.Tensor,
    clock: Callable[[], float],
) -> str:
    """Both as they will run, captured, to gradients that are nobody's."""
    layers = plain.workspace.layers
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
    wide = torch.float32 if isinstance(plain, MixedStep) else plain.workspace.ones.dtype
    slots = [None if p is None else Slot(p, torch.zeros_like(p, dtype=wide), 0) for p in parameters]
    lowest = plain.workspace.lowest
    slots[: 2 * lowest] = [None] * (2 * lowest)
    ways = {}
    device = plain.workspace.ones.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for name, step in (("torch", plain), ("kernels", other)):
            graph = GraphStep(step)
            graph.bind(slots)
            graph.take(x, target, [gradient_only()])
            ((ways[name], _),) = graph.graphs.values()
        return quickest(ways, device, clock)


def faster_update(
    optimizer: Optimizer, clock: Callable[[], float] = time.perf_counter
) -> TakesStep:
    """What takes the optimizer's step: itself, or Triton's kernel where that may be faster."""
    if _asked() == "torch":
        return optimizer
    try:
        from torchmlp.engine.triton.update import (  # noqa: PLC0415  only where there is a GPU
            TritonUpdate,
            is_plain,
        )
    except ImportError:
        return optimizer
    return (
        ChosenUpdate(optimizer, TritonUpdate(optimizer), clock)
        if is_plain(optimizer)
        else optimizer
    )


class ChosenUpdate:
    """The optimizer's step by the faster way, measured on copies once its state is there.

    Args:
        optimizer: over the parameters.
        kernel: the same step as a kernel.
        clock: in seconds.
    """

    def __init__(
        self, optimizer: Optimizer, kernel: "TritonUpdate", clock: Callable[[], float]
    ) -> None:
        self.optimizer, self.kernel, self.clock = optimizer, kernel, clock
        self.way: TakesStep | None = None

    def step(self) -> None:
        """Take it."""
        if self.way is None and self.kernel.is_ready():
            self.way = self._measured()
        (self.way or self.optimizer).step()

    def _measured(self) -> TakesStep:
        shapes = tuple(
            (p.shape, p.device) for group in self.optimizer.param_groups for p in group["params"]
        )
        settings = tuple(bool(group.get("momentum")) for group in self.optimizer.param_groups)
        asked = _asked()
        key = (asked, "update", type(self.optimizer), shapes, settings)
        if key not in _chosen:
            try:
                _chosen[key] = asked or self._compared()
            except Exception as error:  # noqa: BLE001  whatever a compiler may say
                _chosen[key] = type(error).__name__
        return self.kernel if _chosen[key] == "kernels" else self.optimizer

    def _compared(self) -> str:
        ways, device = {}, torch.device("cpu")
        for name in ("torch", "kernels"):
            groups = []
            for group in self.optimizer.param_groups:
                copies = [p.detach().clone().requires_grad_() for p in group["params"]]
                for copy in copies:
                    copy.grad, device = torch.zeros_like(copy), copy.device
                groups.append({**group, "params": copies})
            copy_of: Any = type(self.optimizer)
            own = copy_of(groups, lr=0.0)
            own.step()  # which makes its state
            way = own if name == "torch" else type(self.kernel)(own)
            way.step()
            ways[name] = way.step
        return quickest(ways, device, self.clock)
