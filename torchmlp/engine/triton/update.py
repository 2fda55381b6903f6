"""Torch's SGD, Adam and AdamW with all parameters of a group in one launch.

The state is the optimizer's own: it makes it in its first step, and its state_dict is what it would
be. Steps that are not all of these equations stay the optimizer's.
"""

import math
from collections.abc import Callable
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


class _Member(NamedTuple):
    """A parameter as it was when its group was laid out.

    Attributes:
        p: the parameter.
        grad: its gradient.
        state: what the optimizer keeps of it, by name, as far as the step goes.
    """

    p: Tensor
    grad: Tensor
    state: dict[str, Tensor]


class _Group(NamedTuple):
    """A parameter group as it lies in memory.

    Attributes:
        names: of the tensors of a state.
        members: its parameters that have a gradient.
        where: each tensor's `data_ptr`.
        addresses: what they answered.
        steps: the counts of an Adam's steps, on the CPU.
        places: the members' addresses and sizes, on the device.
        blocks: what each program takes: the member, and the first element.
    """

    names: tuple[str, ...]
    members: list[_Member]
    where: list[Callable[[], int]]
    addresses: list[int]
    steps: list[Tensor]
    places: Tensor
    blocks: Tensor


class TritonUpdate:
    """The optimizer's step.

    Args:
        optimizer: for which `is_plain` holds.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._known: dict[int, _Group] = {}  # by their place

    def is_ready(self) -> bool:
        """Whether the next step is a kernel's.

        The optimizer has made its state then, in a step of its own, and no setting is a tensor,
        which would have to be waited for.
        """
        return self._groups() is not None

    def step(self) -> None:
        """Take it, or let the optimizer take it where the kernel cannot."""
        if (found := self._groups()) is None:
            self.optimizer.step()
            return
        for known, group in zip(found, self.optimizer.param_groups, strict=True):
            if not len(known.blocks):
                continue
            if isinstance(self.optimizer, SGD):
                _sgd(known, group)
            else:
                _adam(known, group)
        mark_stepped(self.optimizer)

    def _groups(self) -> list[_Group] | None:
        """All groups as they are; None where the optimizer has to take this step itself."""
        for k, group in enumerate(self.optimizer.param_groups):
            if any(isinstance(value, Tensor) for value in (group["lr"], *group.get("betas", ()))):
                return None
            known = self._known.get(k)
            if known is None or not self._is_as_known(known, group):
                if (known := self._laid_out(group)) is None:
                    return None
                self._known[k] = known
        return [self._known[k] for k in range(len(self.optimizer.param_groups))]

    def _is_as_known(self, known: _Group, group: dict[str, Any]) -> bool:
        """Asked before every step: what a kernel goes by are addresses."""
        states, members = self.optimizer.state, iter(known.members)
        if self._names(group) != known.names:
            return False
        for p in group["params"]:
            if (grad := p.grad) is None:
                continue
            own = next(members, None)
            if own is None or p is not own.p or grad is not own.grad:
                return False
            if own.state:
                state = states.get(p, {})
                for name, tensor in own.state.items():
                    if state.get(name) is not tensor:
                        return False
        return next(members, None) is None and [f() for f in known.where] == known.addresses

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        has_state = "momentum" not in group or group["momentum"]
        return _STATE[type(self.optimizer)] if has_state else ()

    def _laid_out(self, group: dict[str, Any]) -> _Group | None:
        members: list[_Member] = []
        names, rows, steps, where = self._names(group), [], [], []
        device = torch.device("cpu")
        for p in group["params"]:
            if p.grad is None:
                continue
            device = p.device
            state = self.optimizer.state.get(p, {})
            own = [p, p.grad, *(state.get(name) for name in names)]
            if not all(map(_is_simple, own)):
                return None
            kept = {name: state[name] for name in (*names, "step") if name in state}
            members.append(_Member(p, p.grad, kept))
            where += [t.data_ptr for t in own]
            rows.append([*(t.data_ptr() for t in own), *[0] * (4 - len(own)), p.numel()])
            steps += [kept["step"]] if "step" in kept else []
        if len({float(step) for step in steps}) > 1:  # one kernel has one t
            return None
        sizes = [row[-1] for row in rows]
        blocks = [[k, start] for k, size in enumerate(sizes) for start in range(0, size, BLOCK)]
        places, starts = (torch.tensor(x, dtype=torch.int64, device=device) for x in (rows, blocks))
        return _Group(names, members, where, [f() for f in where], steps, places, starts)


def _is_simple(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.dtype == torch.float32 and tensor.is_contiguous()


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


def _adam(known: _Group, group: dict[str, Any]) -> None:
    t = float(known.steps[0]) + 1
    for step in known.steps:
        step.fill_(t)
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
