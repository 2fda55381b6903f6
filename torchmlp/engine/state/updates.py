"""The optimizer seen from a step: where each gradient goes, and what becomes of it."""

from collections.abc import Sequence
from enum import Enum
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from torchmlp.engine.state.addresses import unsupported_memory
from torchmlp.engine.state.changes import Expectation, Kind
from torchmlp.engine.state.sgd_update import SGDUpdate, gradient_only, sgd_update
from torchmlp.kernels.optimizers import Elementwise, Kept, nadam_momentum, rule_of

Rule = SGDUpdate | Elementwise
COUNT, PRODUCT = "step", "mu_product"  # of the optimizers' state, what is a number


class Way(Enum):
    """What a step does with a gradient."""

    MERGED = "SGD's step is part of the gradient's matrix product"
    ELEMENTWISE = "the optimizer's step is taken element by element, by its coefficients"
    GRADIENT = "it is left in .grad, and the optimizer takes its own step"


class Slot(NamedTuple):
    """A trained parameter and how it is trained.

    Attributes:
        value: the parameter.
        into: what its δᵀ a is added to: itself, its velocity or its gradient; None where the
            gradient is not kept.
        rule: which of the step's rules is its own.
        kept: what the optimizer keeps of it, the step's to change.
    """

    value: Tensor
    into: Tensor | None
    rule: int
    kept: tuple[Tensor | None, ...] = (None,) * len(Kept._fields)


class _Kind(NamedTuple):
    """Parameters with one rule: their group, and how many steps the optimizer has counted."""

    group: int
    steps: float
    product: float


class Updates:
    """Where each δᵀ a goes, and the coefficients of what becomes of it.

    The state is the optimizer's own: its state_dict, and a later step of its own, find what they
    would have left there. Made anew where parameters or parameter groups have changed.

    Args:
        optimizer: any.
        parameters: those that a step can train, in its order.
        way: what is done with gradients; other than GRADIENT, the optimizer's rule is known.
        keeps_gradients: whether gradients are to outlive the step that makes them.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        parameters: Sequence[Tensor | None],
        way: Way,
        *,
        keeps_gradients: bool = False,
    ) -> None:
        self.optimizer, self.parameters, self.way = optimizer, parameters, way
        self.keeps_gradients = keeps_gradients
        self.generation = 0  # counts the changes of `slots`
        self.slots: list[Slot | None] = []
        self.lowest = 0  # the place, among the parameters, of the first that is trained
        self.counters: list[Tensor] = []  # of the optimizer's steps, to be counted up after each
        rule = rule_of(optimizer)
        self._names = rule.settings if rule else ()
        self._kept_by = rule.kept if rule else lambda _: Kept()
        self._counts = way is Way.ELEMENTWISE and bool(rule and rule.counts)
        self._coefficients: Any = rule and rule.coefficients
        self._read_settings = itemgetter(*self._names) if self._names else lambda _: ()
        self._read: list[Any] = []  # the settings of each parameter group, as they stood there
        self.settings: list[dict[str, Any]] = []  # the same, as numbers, by name
        self._has_tensors = False  # among the settings
        self._is_starting = True  # whether slots will be others at the next step
        self._kinds: list[_Kind] = []  # of each rule
        # Of each rule, as arrays, its parameters' counts and products.
        self._numbers: list[list[tuple[Any, Any]]] = []
        self._gradients: dict[Tensor, Tensor] = {}
        self._held: list[tuple[Tensor, str, Tensor]] = []  # (parameter, name, what is kept)
        self._new: list[tuple[Tensor, str, Tensor]] = []  # what the optimizer has not got yet
        self._group_of = {
            p: index for index, group in enumerate(optimizer.param_groups) for p in group["params"]
        }

    @property
    def tensors(self) -> list[Tensor]:
        """The parameters, and all that is written into with them."""
        own = [p for p in self.parameters if p is not None]
        into = [] if self.way is Way.MERGED else [s.into for s in self.slots if s is not None]
        kept = [tensor for _, _, tensor in self._held]
        return own + kept + [tensor for tensor in into if tensor is not None]

    def refresh(self) -> bool:
        """Bring settings and slots up to date; whether `slots` have changed.

        The slots change after a first step, with a state that was loaded or cleared, and with a
        momentum that was none.

        Raises:
            ValueError: a state of another shape than its parameter's; nothing has been changed
                then.
        """
        has_changed = self._is_starting and not self._new
        state = self.optimizer.state
        for p, name, tensor in self._held:
            found = state[p].get(name) if p in state else None
            if found is not tensor and not (found is None and self._new):
                has_changed = True
        if self.way is not Way.GRADIENT:
            has_changed = not self._look_at_settings() or has_changed
        if has_changed or not self.look_at_counts():
            self._assign()
            has_changed = True
        if self.way is Way.GRADIENT:
            for slot in self.slots:
                if slot is not None and slot.value.grad is not slot.into:
                    slot.value.grad = slot.into
        return has_changed

    def release(self) -> None:
        """Take back the gradients' buffers: the optimizer would go on taking them for gradients."""
        for slot in self.slots:
            if slot is not None and slot.into is not None and slot.value.grad is slot.into:
                slot.value.grad = None

    def rules(self, *, collected: int = 0) -> list[Rule]:
        """Those of the next step, by settings and counts as last read.

        Args:
            collected: batches whose gradients are there already.
        """
        if self.way is Way.GRADIENT:
            return [gradient_only(1.0 if collected else 0.0)]
        found: list[Rule] = []
        for kind in self._kinds:
            settings = self.settings[kind.group]
            if self.way is Way.MERGED:
                found.append(sgd_update(**settings, first=kind.steps == 0))
            else:
                numbers = {**settings, PRODUCT: kind.product} if kind.product else settings
                found.append(self._coefficients(numbers, kind.steps + 1))
        return found

    def table(self, steps: int) -> NDArray[np.float64]:
        """The rules of so many steps from here on, (steps, rules, coefficients)."""
        if self.way is not Way.ELEMENTWISE:
            following = [kind._replace(steps=1.0) for kind in self._kinds]
            first, self._kinds = self.rules(), following
            rest = self.rules()
            return np.array([first] + [rest] * (steps - 1), dtype=np.float64)
        found = np.empty((steps, len(self._kinds), len(Elementwise._fields)))
        for index, kind in enumerate(self._kinds):
            steps_of_it = kind.steps + np.arange(1.0, steps + 1)
            rule = self._coefficients(self.settings[kind.group], steps_of_it)
            for place, number in enumerate(rule):
                found[:, index, place] = number
        return found

    @property
    def has_products(self) -> bool:
        """Whether the state holds a product of momenta, which `commit` carries on."""
        return any(kind.product for kind in self._kinds)

    def commit(self) -> None:
        """After a step: hand the optimizer the state that it had not got before."""
        # Not before: a batch that is refused leaves the state as it was.
        for p, name, tensor in self._new:
            self.optimizer.state[p][name] = tensor
        self._new = []
        if self.has_products:
            for p, name, tensor in self._held:
                if name == PRODUCT:
                    kind = self._kinds[self._rule_of[p]]
                    tensor.mul_(nadam_momentum(self.settings[kind.group], kind.steps + 1))

    def expectations(self) -> list[Expectation] | None:
        """What must stay as it is for rules and slots to stay so; None where nobody can tell."""
        if self._is_starting or self._has_tensors or self._new or self.way is Way.GRADIENT:
            return None
        state = self.optimizer.state
        found = [Expectation(Kind.ITEM, vars(self.optimizer), "state", state)]
        for group in self.optimizer.param_groups:
            found += [Expectation(Kind.ITEM, group, name, group[name]) for name in self._names]
        for p in dict.fromkeys(p for p, _, _ in self._held):
            found.append(Expectation(Kind.ITEM, state, p, state[p]))
        for p, name, tensor in self._held:
            found.append(Expectation(Kind.ITEM, state[p], name, tensor))
        return found

    def _look_at_settings(self) -> bool:
        """Whether those of whom something is kept are those of whom it was kept."""
        read = [self._read_settings(group) for group in self.optimizer.param_groups]
        # A rate that is a tensor is the same one after a scheduler has written into it.
        if read == self._read and not self._has_tensors:
            return True
        before, self._read = self.settings, read
        self._has_tensors = any(isinstance(value, Tensor) for values in read for value in values)
        self.settings = [
            {name: as_number(value) for name, value in zip(self._names, values, strict=True)}
            for values in read
        ]
        return [*map(self._kept_by, self.settings)] == [*map(self._kept_by, before)]

    def look_at_counts(self) -> bool:
        """Whether the parameters of each rule have still been stepped equally often."""
        for index, arrays in enumerate(self._numbers):
            count, product = arrays[0]
            count = float(count)
            if any(float(other) != count for other, _ in arrays):
                return False
            kind = self._kinds[index]
            if count != kind.steps:
                product = 0.0 if product is None else product[()]
                self._kinds[index] = kind._replace(steps=count, product=product)
        return True

    def _assign(self) -> None:
        held: list[tuple[Tensor, str, Tensor]] = []
        new: list[tuple[Tensor, str, Tensor]] = []
        kinds: list[_Kind] = []
        numbers: list[list[tuple[Any, Any]]] = []
        slots: list[Slot | None] = []
        rules: dict[Tensor, int] = {}

        def keep(p: Tensor, name: str) -> tuple[Tensor, bool]:
            known = self.optimizer.state.get(p, {}).get(name)
            own = _scalar_like(name, known) if name in (COUNT, PRODUCT) else _like(p, name, known)
            held.append((p, name, own))
            if own is not known:
                new.append((p, name, own))
            return own, known is None

        for p in self.parameters:
            if p is None or not p.requires_grad or p not in self._group_of:
                slots.append(None)
                continue
            if self.way is Way.GRADIENT:
                slots.append(Slot(p, self._gradient(p), 0))
                continue
            group = self._group_of[p]
            names = self._kept_by(self.settings[group])
            found = [keep(p, name) if name else (None, False) for name in names]
            kept = tuple(tensor for tensor, _ in found)
            kind = _Kind(group, 0.0 if any(is_new for _, is_new in found) else 1.0, 0.0)
            own: Any = (None, None)
            if self._counts:
                has_product = "momentum_decay" in self._names
                own = (
                    keep(p, COUNT)[0].numpy(),
                    keep(p, PRODUCT)[0].numpy() if has_product else None,
                )
                kind = _Kind(group, float(own[0]), own[1][()] if has_product else 0.0)
            if kind not in kinds:
                kinds.append(kind)
                numbers.append([])
            rules[p] = kinds.index(kind)
            numbers[rules[p]].append(own)
            into = p.detach() if self.way is Way.MERGED else None
            if self.way is Way.MERGED and kept[-1] is not None:
                into = kept[-1]
            elif self.keeps_gradients:
                into = self._gradient(p)
            kept = (None,) * len(kept) if self.way is Way.MERGED else kept
            slots.append(Slot(p, into, rules[p], kept))
        self._held, self._new, self._kinds, self.slots = held, new, kinds, slots
        self._numbers = numbers if self._counts else []
        self._rule_of = rules
        self.counters = [tensor for _, name, tensor in held if name == COUNT]
        # With the first step a velocity comes to be; from the second on the slots stay.
        self._is_starting = bool(new)
        self.generation += 1
        trained = (k for k, slot in enumerate(slots) if slot is not None)
        self.lowest = next(trained, 0)

    def _gradient(self, p: Tensor) -> Tensor:
        known = self._gradients.get(p)
        if known is None or (known.shape, known.dtype, known.stride()) != (
            *(p.shape, p.dtype, p.stride()),
        ):
            known = self._gradients[p] = torch.zeros_like(p, requires_grad=False)
        return known


def as_number(value: Any) -> Any:
    """A setting as a float, or floats, where it is a number or a tensor of one."""
    if isinstance(value, Tensor | int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, tuple | list):
        return tuple(map(as_number, value))
    return value


def _scalar_like(name: str, known: Any) -> Tensor:
    """The optimizer's number itself where it is a tensor in memory; else a new one."""
    if isinstance(known, Tensor) and known.device.type == "cpu" and not known.ndim:
        is_floating = known.dtype in (torch.float32, torch.float64)
        known = known if is_floating else float(known)
    if isinstance(known, Tensor):
        return known
    is_double = torch.get_default_dtype() == torch.float64
    start = known if known is not None else 1.0 if name == PRODUCT else 0.0
    return torch.tensor(float(start), dtype=torch.float64 if is_double else torch.float32)


def _like(p: Tensor, name: str, known: Tensor | None) -> Tensor:
    """What is kept itself where it lies as its parameter does; else a new one, of its elements.

    Raises:
        ValueError: it has another shape, or no memory.
    """
    if known is None:
        return torch.zeros_like(p, requires_grad=False)
    reason = "" if known.shape == p.shape else f"has shape {tuple(known.shape)}"
    if reason := reason or unsupported_memory(known):
        raise ValueError(
            f"Engine.step: the optimizer's {name} of a parameter of shape {tuple(p.shape)} "
            f"{reason}; load a state that fits, or clear optimizer.state"
        )
    is_alike = (known.dtype, known.device, known.is_neg()) == (p.dtype, p.device, False)
    if is_alike and (known.is_contiguous() or not p.is_contiguous()):
        return known
    # The parameter's dtype was changed, or the state comes from elsewhere.
    return torch.empty_like(p, requires_grad=False).copy_(known)
