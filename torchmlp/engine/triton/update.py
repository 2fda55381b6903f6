"""Torch's SGD, Adam and AdamW with all parameters of a group in one launch.

The state is the optimizer's own: it makes it in its first step, and its state_dict is what it would
be. Steps that are not all of these equations stay the optimizer's.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from torchmlp._compat.torch_internals import mark_stepped, optimizer_hooks
from torchmlp.engine.triton import kernels

BLOCK = 1024  # elements of a program
_SWITCHES = ("amsgrad", "capturable", "differentiable", "foreach", "fused")
_STATE = {SGD: ("momentum_buffer",), Adam: ("exp_avg", "exp_avg_sq")}
_STATE[AdamW] = _STATE[Adam]


def is_plain(optimizer: Optimizer) -> bool:
    """Whether a step of the optimizer is `kernels.sgd` or `kernels.adam` and nothing else.

    Not where somebody listens, or has asked for another way (fused, foreach, capturable).
    """
    step = optimizer.__dict__.get("step")  # a scheduler puts one there that counts
    return (
        type(optimizer) in _STATE
        and (step is None or hasattr(step, "_wrapped_by_lr_sched"))
        and not any(optimizer_hooks(optimizer))
        and not any(group.get(name) for group in optimizer.param_groups for name in _SWITCHES)
    )


class _Group(NamedTuple):
    """A parameter group as it lies in memory.

    Attributes:
        rows: of each parameter the addresses of itself, its gradient and its state, and its size.
        places: the same on the device.
        blocks: what each program takes: the row, and the first element.
    """

    rows: list[list[int]]
    places: Tensor
    blocks: Tensor


class TritonUpdate:
    """The optimizer's step.

    Args:
        optimizer: for which `is_plain` holds.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.groups: dict[int, _Group] = {}  # by their place

    def is_ready(self) -> bool:
        """Whether the next step is a kernel's.

        The optimizer has made its state then, in a step of its own, and no setting is a tensor,
        which would have to be waited for.
        """
        return all(map(self._is_kernels, self.optimizer.param_groups))

    def step(self) -> None:
        """Take it, or let the optimizer take it where the kernel cannot."""
        if not self.is_ready():
            self.optimizer.step()
            return
        for k, group in enumerate(self.optimizer.param_groups):
            trained = [p for p in group["params"] if p.grad is not None]
            rows = [_row(self._tensors(p, group)) for p in trained if p.numel()]
            if not rows:
                continue
            known = self.groups.get(k)
            if known is None or known.rows != rows:
                known = self.groups[k] = _laid_out(rows, trained[0].device)
            if isinstance(self.optimizer, SGD):
                _sgd(known, group)
            else:
                _adam(known, group, self._steps(group))
        mark_stepped(self.optimizer)

    def _is_kernels(self, group: dict[str, Any]) -> bool:
        settings = [group["lr"], *group.get("betas", ())]
        trained = [p for p in group["params"] if p.grad is not None]
        return (
            not any(isinstance(value, Tensor) for value in settings)
            and all(_is_simple(t) for p in trained for t in self._tensors(p, group))
            and len({float(step) for step in self._steps(group)}) < 2  # noqa: PLR2004  one t
        )

    def _tensors(self, p: Tensor, group: dict[str, Any]) -> list[Any]:
        """What the kernel works on; None for what the optimizer has not made yet."""
        has_state = "momentum" not in group or group["momentum"]
        names = _STATE[type(self.optimizer)] if has_state else ()
        state = self.optimizer.state.get(p, {})
        return [p, p.grad, *(state.get(name) for name in names)]

    def _steps(self, group: dict[str, Any]) -> list[Tensor]:
        """The counts of an Adam's steps, on the CPU: `is_plain` leaves out where they are not."""
        state = self.optimizer.state
        states = [state.get(p, {}) for p in group["params"] if p.grad is not None]
        return [own["step"] for own in states if "step" in own]


def _is_simple(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.dtype == torch.float32 and tensor.is_contiguous()


def _row(tensors: list[Tensor]) -> list[int]:
    addresses = [tensor.data_ptr() for tensor in tensors]
    return [*addresses, *[0] * (4 - len(addresses)), tensors[0].numel()]


def _laid_out(rows: list[list[int]], device: torch.device) -> _Group:
    sizes = [row[-1] for row in rows]
    blocks = [[k, start] for k, size in enumerate(sizes) for start in range(0, size, BLOCK)]
    return _Group(rows, *(torch.tensor(x, device=device) for x in (rows, blocks)))


def _sgd(known: _Group, group: dict[str, Any]) -> None:
    kernels.sgd[(len(known.blocks),)](
        known.places,
        known.blocks,
        float(group["lr"]),
        float(group["momentum"]),
        1.0 - float(group["dampening"]),
        float(group["weight_decay"]),
        -1.0 if group["maximize"] else 1.0,
        HAS_VELOCITY=bool(group["momentum"]),
        NESTEROV=bool(group["nesterov"]),
        BLOCK=BLOCK,
    )


def _adam(known: _Group, group: dict[str, Any], steps: list[Tensor]) -> None:
    for step in steps:
        step.add_(1)
    t = float(steps[0])
    lr, (beta1, beta2), decay = float(group["lr"]), group["betas"], float(group["weight_decay"])
    is_decoupled = bool(group.get("decoupled_weight_decay"))
    kernels.adam[(len(known.blocks),)](
        known.places,
        known.blocks,
        lr / (1 - beta1**t),
        1 - beta1,
        float(beta2),
        1 - beta2,
        float(group["eps"]),
        0.0 if is_decoupled else decay,
        1 - lr * decay if is_decoupled else 1.0,
        math.sqrt(1 - beta2**t),
        -1.0 if group["maximize"] else 1.0,
        BLOCK=BLOCK,
    )
