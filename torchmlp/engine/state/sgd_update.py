"""SGD's update as six coefficients per parameter, fused into the gradient's matrix product.

The gradient g = (1/B) δᵀ a is not stored where that can be avoided: its matrix product is added
to the parameter itself, or to its velocity.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchmlp.engine.state.addresses import unsupported_memory

# The settings of torch.optim.SGD that a step reads, in the order `sgd_update` takes them.
_settings_of = itemgetter("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")


class SGDUpdate(NamedTuple):
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


def gradient_only(rows: int) -> SGDUpdate:
    """Into the gradient's buffer: the optimizer does the rest."""
    return SGDUpdate(0.0, 1.0, 0.0, 0.0, 1.0 / max(rows, 1), 0.0)


def sgd_update(
    rows: int,
    lr: Any,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    *,
    first: bool = False,
) -> SGDUpdate:
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
        return SGDUpdate(ahead, 1.0, 0.0, 1.0, -lr * share, 0.0)
    keep, new = (0.0, 1.0) if first else (momentum, 1.0 - dampening)
    ahead = lr * momentum if nesterov and not first else 0.0
    rate = lr * (1.0 + momentum) if nesterov else lr
    decay = new * weight_decay
    if decay == 0:
        return SGDUpdate(ahead, 1.0, 0.0, keep, new * share, rate)
    # The value has moved ahead by then: what `into` takes of that is taken back.
    return SGDUpdate(ahead, keep - decay * ahead, decay, 1.0, new * share, rate)


class SGDUpdates:
    """The optimizer seen from a step: where each δᵀ a goes, and with which coefficients.

    The state is the optimizer's own, `momentum_buffer` or `grad`: its state_dict, and a later step
    of its own, find what they would have left there. Made anew where parameters, parameter groups
    or memory have changed.

    Args:
        optimizer: any; of an `SGD` the step is computed here, others find gradients.
        parameters: those that a step can train, in its order.
        is_fused: whether to compute the optimizer's step here; see `structure.is_fusible`.
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
        self._has_tensors = False  # for rates
        self._is_starting = True  # whether slots will be others at the next step
        self._kinds: list[tuple[int, bool]] = []  # (parameter group, first) of each descent
        self._velocities: list[tuple[Tensor, Tensor]] = []  # (parameter, velocity)
        self._new: list[tuple[Tensor, Tensor]] = []  # those that the optimizer has not got yet
        self._group_of = {
            p: index for index, group in enumerate(optimizer.param_groups) for p in group["params"]
        }

    @property
    def tensors(self) -> list[Tensor]:
        """The parameters, and what their δᵀ a are added to."""
        own = [p for p in self.parameters if p is not None]
        if not self.is_fused:
            return own + [slot.into for slot in self.slots if slot is not None]
        return own + [into for _, into in self._velocities]

    def refresh(self) -> bool:
        """Bring `settings` and `slots` up to date; whether `slots` have changed.

        The slots change after a first step, with a state that was loaded or cleared, and with a
        momentum that was none.

        Raises:
            ValueError: a velocity of another shape than its parameter's; nothing has been changed
                then.
        """
        has_changed = self._is_starting
        for p, into in self._velocities:
            has_changed = has_changed or _velocity(self.optimizer, p) is not into
        if self.is_fused:
            has_changed = not self._look_at_settings() or has_changed
        if has_changed:
            self._assign()
        if not self.is_fused:
            for slot in self.slots:
                if slot is not None and slot.value.grad is not slot.into:
                    slot.value.grad = slot.into
        return has_changed

    def release(self) -> None:
        """Take back the gradients' buffers: the optimizer would go on taking them for gradients."""
        for slot in self.slots:
            if slot is not None and slot.value.grad is slot.into:
                slot.value.grad = None

    def _look_at_settings(self) -> bool:
        """Whether those that have a velocity are those that had one."""
        read = [_settings_of(group) for group in self.optimizer.param_groups]
        # A rate that is a tensor is the same one after a scheduler has written into it.
        if read == self._read and not self._has_tensors:
            return True
        before, self._read = self.settings, read
        self._has_tensors = any(isinstance(rate, Tensor) for rate, *_ in read)
        self.settings = [(*map(float, values[:4]), *values[4:]) for values in read]
        return _has_velocity(self.settings) == _has_velocity(before)

    def for_rows(self, rows: int) -> list[SGDUpdate]:
        """The descents of a step over so many rows, by the settings as last read."""
        if not self.is_fused:
            return [gradient_only(rows)]
        descents = []
        for index, first in self._kinds:
            descents.append(sgd_update(rows, *self.settings[index], first=first))
        return descents

    def commit(self) -> None:
        """Hand the optimizer the velocities that it had not got before the step."""
        # Not before: a batch that is refused leaves the state as it was.
        for p, velocity in self._new:
            self.optimizer.state[p]["momentum_buffer"] = velocity
        self._new = []

    def _assign(self) -> None:
        kinds: list[tuple[int, bool]] = []
        slots: list[Slot | None] = []
        velocities: list[tuple[Tensor, Tensor]] = []
        new: list[tuple[Tensor, Tensor]] = []
        for p in self.parameters:
            if p is None or not p.requires_grad or p not in self._group_of:
                slots.append(None)
                continue
            if not self.is_fused:
                slots.append(Slot(p, torch.zeros_like(p, requires_grad=False), 0))
                continue
            into, kind = p.detach(), (self._group_of[p], False)
            if _has_velocity(self.settings[kind[0] :][:1]) == [True]:
                known = _velocity(self.optimizer, p)
                into, kind = _velocity_like(into, known), (kind[0], known is None)
                if into is not known:
                    new.append((p, into))
                velocities.append((p, into))
            if kind not in kinds:
                kinds.append(kind)
            slots.append(Slot(p, into, kinds.index(kind)))
        self._kinds, self.slots, self._velocities, self._new = kinds, slots, velocities, new
        self._is_starting = any(first for _, first in kinds)
        self.generation += 1
        trained = (k for k, slot in enumerate(slots) if slot is not None)
        self.lowest = next(trained, 0)


def _velocity(optimizer: Optimizer, p: Tensor) -> Tensor | None:
    velocity: Tensor | None = optimizer.state.get(p, {}).get("momentum_buffer")
    return velocity


def _velocity_like(p: Tensor, known: Tensor | None) -> Tensor:
    """The velocity itself where it lies as its parameter does; else a new one, of its elements.

    Raises:
        ValueError: it has another shape, or no memory.
    """
    if known is None:
        return torch.zeros_like(p)
    reason = "" if known.shape == p.shape else f"has shape {tuple(known.shape)}"
    if reason := reason or unsupported_memory(known):
        raise ValueError(
            f"Engine.step: the optimizer's momentum_buffer of a parameter of shape "
            f"{tuple(p.shape)} {reason}; load a state that fits, or clear optimizer.state"
        )
    is_alike = (known.dtype, known.device, known.is_neg()) == (p.dtype, p.device, False)
    if is_alike and (known.is_contiguous() or not p.is_contiguous()):
        return known
    # The parameter's dtype was changed, or the state comes from elsewhere.
    return torch.empty_like(p).copy_(known)


def _has_velocity(settings: Sequence[tuple[Any, ...]]) -> list[bool]:
    return [bool(momentum != 0) for _, momentum, *_ in settings]
