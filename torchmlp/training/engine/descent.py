"""What an optimizer's settings make of a gradient, in six numbers for each parameter.

The gradient g = (1/B) δᵀ a is not stored where that can be avoided: its matrix product is added
to the parameter itself, or to its velocity.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.optim import optimizer as hooks_of_all

# The settings of torch.optim.SGD that a step reads, in the order `sgd_descent` takes them.
_settings_of = itemgetter("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")


class Descent(NamedTuple):
    """The coefficients of one parameter's step, in the order they are applied.

        value += ahead · into
        into   = fade · into + decay · value           (only where decay is not 0)
        into   = beta · into + alpha · δᵀ a
        value -= rate · into                           (only where rate is not 0)

    `into` is the parameter itself, its velocity, or its gradient.
    """

    ahead: float
    fade: float
    decay: float
    beta: float
    alpha: float
    rate: float


class Slot(NamedTuple):
    """A trained parameter, what its δᵀ a is added to, and which of the step's descents it takes."""

    value: Tensor
    into: Tensor
    descent: int


def gradient_only(rows: int) -> Descent:
    """Into the gradient's buffer: the optimizer does the rest."""
    return Descent(0.0, 1.0, 0.0, 0.0, 1.0 / max(rows, 1), 0.0)


def sgd_descent(
    rows: int,
    lr: Any,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    *,
    first: bool = False,
) -> Descent:
    """The step of torch.optim.SGD.

        plain      W ← W − ηλ W − (η/B) δᵀ a
        velocity   V ← μ V + (1 − τ) (g + λ W)     W ← W − η V
        Nesterov   W ← W − η (g + λ W + μ V), V being the new one. As g + λ W = V − μ V_old it is
                   W ← W + ημ V_old − η (1 + μ) V, which needs no gradient that is stored.

    Args:
        rows: B.
        lr: η; a tensor of many networks' gives their descents, each coefficient that it enters
            being such a tensor.
        momentum: μ.
        dampening: τ; 0 where Nesterov's.
        weight_decay: λ.
        nesterov: whether the step looks ahead.
        maximize: ascend; the decay still decays.
        first: whether the velocity starts with this step, at g + λ W, dampening or not.

    Source: Sutskever et al. (2013), in the form of torch.optim.SGD's documentation.
    """
    share = (-1.0 if maximize else 1.0) / max(rows, 1)
    if momentum == 0:
        # 1 − ηλ as beta would be rounded alike in every step: 3e-6 off after a hundred of float32.
        ahead = -lr * weight_decay if weight_decay else 0.0
        return Descent(ahead, 1.0, 0.0, 1.0, -lr * share, 0.0)
    keep, new = (0.0, 1.0) if first else (momentum, 1.0 - dampening)
    ahead = lr * momentum if nesterov and not first else 0.0
    rate = lr * (1.0 + momentum) if nesterov else lr
    decay = new * weight_decay
    if decay == 0:
        return Descent(ahead, 1.0, 0.0, keep, new * share, rate)
    # The value has moved ahead by then: what `into` takes of that is taken back.
    return Descent(ahead, keep - decay * ahead, decay, 1.0, new * share, rate)


class Descents:
    """The optimizer seen from a step: where each δᵀ a goes, and with which coefficients.

    The state is the optimizer's own, `momentum_buffer` or `grad`: its state_dict, and a later step
    of its own, find what they would have left there.

    Args:
        optimizer: any; of an `SGD` the step is computed here, others find gradients.
        parameters: those that a step can train, in its order.
        is_fused: whether to compute the optimizer's step here; see `is_fusible`.
    """

    def __init__(
        self, optimizer: Optimizer, parameters: Sequence[Tensor | None], *, is_fused: bool
    ) -> None:
        self.optimizer, self.parameters, self.is_fused = optimizer, parameters, is_fused
        self.generation = 0  # counts the changes of `slots`
        self.slots: list[Slot | None] = []
        self.lowest = 0  # the place, among the parameters, of the first that is trained
        self.settings: list[tuple[Any, ...]] = []  # of each parameter group, as numbers
        self._read: list[tuple[Any, ...]] = []  # the same, as they stood there
        self._present = [p for p in parameters if p is not None]
        self._trained: list[bool] = []
        self._members: list[int] = []  # of each parameter group, how many
        self._kinds: list[tuple[int, bool]] = []  # (parameter group, first) of each descent
        self._velocities: list[tuple[Tensor, Tensor]] = []  # (parameter, velocity)
        self._new: list[tuple[Tensor, Tensor]] = []  # those that the optimizer has not got yet
        self._is_starting = False

    def look(self, *, has_moved: bool = False) -> None:
        """Bring `settings` and `slots` up to date.

        The slots change after a first step, with a state that was loaded or cleared, a parameter
        that was frozen or got a group, a momentum that was none.

        Args:
            has_moved: whether a parameter's memory is another than it was.
        """
        optimizer = self.optimizer
        trained = [p.requires_grad for p in self._present]
        members = [len(group["params"]) for group in optimizer.param_groups]
        is_same = (
            not has_moved
            and trained == self._trained
            and members == self._members
            and not self._is_starting
            and all(_velocity(optimizer, p) is into for p, into in self._velocities)
        )
        if self.is_fused:
            is_same = self._look_at_settings() and is_same
        if not is_same:
            self._trained, self._members = trained, members
            self._assign()
        if not self.is_fused:
            for slot in self.slots:
                if slot is not None and slot.value.grad is not slot.into:
                    slot.value.grad = slot.into

    def _look_at_settings(self) -> bool:
        """Whether those that have a velocity are those that had one."""
        read = [_settings_of(group) for group in self.optimizer.param_groups]
        # A rate that is a tensor is the same one after a scheduler has written into it.
        if read == self._read and not any(isinstance(values[0], Tensor) for values in read):
            return True
        before, self._read = self.settings, read
        self.settings = [(*map(float, values[:4]), *values[4:]) for values in read]
        return _has_velocity(self.settings) == _has_velocity(before)

    def of(self, rows: int) -> list[Descent]:
        """The descents of a step over so many rows, by the settings as last read."""
        if not self.is_fused:
            return [gradient_only(rows)]
        descents = []
        for index, first in self._kinds:
            descents.append(sgd_descent(rows, *self.settings[index], first=first))
        return descents

    def keep(self) -> None:
        """Hand the optimizer the velocities that it had not got before the step."""
        # Not before: a batch that is refused leaves the state as it was.
        for p, velocity in self._new:
            self.optimizer.state[p]["momentum_buffer"] = velocity
        self._new = []

    def _assign(self) -> None:
        group_of = {
            p: index
            for index, group in enumerate(self.optimizer.param_groups)
            for p in group["params"]
        }
        before = self.slots or [None] * len(self.parameters)
        self._kinds, self.slots, self._is_starting = [], [], False
        self._velocities, self._new = [], []
        self.generation += 1
        for p, slot in zip(self.parameters, before, strict=True):
            if p is None or not p.requires_grad or p not in group_of:
                self.slots.append(None)
                if p is not None and slot is not None and p.grad is slot.into:
                    p.grad = None  # the optimizer would go on taking it for a gradient
            elif self.is_fused:
                self.slots.append(self._fused(p, group_of[p]))
            else:
                known = p.grad is not None and p.grad.is_contiguous()
                buffer = p.grad if known else torch.zeros_like(p, requires_grad=False)
                assert buffer is not None
                self.slots.append(Slot(p, buffer, 0))
        trained = (k for k, slot in enumerate(self.slots) if slot is not None)
        self.lowest = next(trained, 0)

    def _fused(self, p: Tensor, index: int) -> Slot:
        into, first = p.detach(), False
        if _has_velocity(self.settings[index : index + 1]) == [True]:
            known = _velocity(self.optimizer, p)
            first = known is None
            self._is_starting = self._is_starting or first
            if known is None:
                into = torch.zeros_like(into)
            elif _lies_like(known, into):
                into = known
            else:  # the parameter's dtype was changed, or the state comes from elsewhere
                into = torch.empty_like(into).copy_(known)
            if into is not known:
                self._new.append((p, into))
            self._velocities.append((p, into))
        kind = (index, first)
        if kind not in self._kinds:
            self._kinds.append(kind)
        return Slot(p, into, self._kinds.index(kind))


def _velocity(optimizer: Optimizer, p: Tensor) -> Tensor | None:
    velocity: Tensor | None = optimizer.state.get(p, {}).get("momentum_buffer")
    return velocity


def _lies_like(velocity: Tensor, p: Tensor) -> bool:
    """Whether one address and one shape tell where the elements of either are."""
    is_alike = (velocity.shape, velocity.dtype, velocity.device) == (p.shape, p.dtype, p.device)
    return is_alike and (velocity.is_contiguous() or not p.is_contiguous())


def _has_velocity(settings: Sequence[tuple[Any, ...]]) -> list[bool]:
    return [bool(momentum != 0) for _, momentum, *_ in settings]


def is_fusible(optimizer: Optimizer) -> bool:
    """Whether a step of the optimizer is `sgd_descent` and nothing else."""
    hooks = (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        hooks_of_all._global_optimizer_pre_hooks,
        hooks_of_all._global_optimizer_post_hooks,
    )
    return type(optimizer) is SGD and not any(hooks)
