"""One run of somebody's code: parameters set, functions called in order, gradients read."""

import contextlib
import functools
import io
import random
import re
import sys
import unittest.mock
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torchmlp.foreign.calling import words
from torchmlp.foreign.calling.binding import UnboundError, bind, returned_names, signature
from torchmlp.foreign.calling.layouts import Array, Form, Sample, as_array
from torchmlp.foreign.calling.matching import Plan, find_gradients, read, split_loss
from torchmlp.foreign.calling.slots import Slots
from torchmlp.foreign.calling.trees import Leaf, leaves

RATE = 2.0**-6  # of updates, where it can be chosen: a power of two, whose division rounds nothing
DECAY = 0.125  # of a regularisation that can be chosen


class NoGradientsError(Exception):
    """A call that went well and left no gradients."""


@dataclass
class Answer:
    """What one run gave, canonical but for shapes that a mistake left.

    Attributes:
        loss: the loss; None where none was reported.
        output: the network's output, (B, K); None where no forward pass was found.
        grad_weights: one for each layer.
        grad_biases: likewise; None where there is none.
        source: "returned", "kept" in attributes, or "updates": read from a change of the
            parameters.
        rate: the rate that updates were divided by; None where it is not known.
        changed: names of parameters that a function changed although it returns gradients.
        by_cost: the loss is the one of the script's cost, and not reported by its steps.
    """

    loss: float | None
    output: Array | None
    grad_weights: list[Any]
    grad_biases: list[Any]
    source: str
    rate: float | None = None
    changed: Sequence[str] = ()
    by_cost: bool = False


@dataclass
class Session:
    """Somebody's code with parameters in place, ready to be called.

    Attributes:
        functions: what can be called, by name, in the order of the file.
        values: what is known for parameters of functions, by role and by name.
        slots: where the network's parameters lie.
        holder: an object whose attributes may hold gradients afterwards; None where there is none.
        form: how the batch is taken.
        sample: the batch.
        rate: the rate, where the code was told it already.
        before: the parameters that the code will draw itself, in the order of the slots; None where
            they are in place.
    """

    functions: dict[str, Callable[..., Any]]
    values: dict[str, Any]
    slots: Slots
    form: Form
    sample: Sample
    holder: Any = None
    rate: float | None = None
    before: list[Array] | None = None
    made: dict[str, Any] = field(default_factory=dict)

    def call(self, name: str) -> Any:
        """Call a function with what is known, and keep what it returned under its names.

        Raises:
            UnboundError: a parameter that nothing is known for.
        """
        function = self.functions[name]
        call = bind(function, {**self.values, **self.made})
        found = signature(function)
        if found is not None and any(words.role(n) == "lr" for n in found.names):
            self.rate = self.values.get("lr")
        with quiet():
            result = call()
        self._keep(function, result)
        return result

    def clear(self) -> None:
        """Set gradients that are added up to zero, where the code has a function that does."""
        for name in self.functions:
            if re.match(r"_?(zero|reset|clear)", name):
                with contextlib.suppress(Exception):
                    self.call(name)

    def forward(self, name: str) -> None:
        """Call what computes the output: whatever its first parameter is named, it is the batch."""
        try:
            self.call(name)
        except UnboundError:
            function = self.functions[name]
            found = signature(function)
            if found is None or not found.names:
                raise
            with quiet():
                values = {**self.values, **self.made, found.names[0]: self.values["x"]}
                self._keep(function, bind(function, values)())

    def _keep(self, function: Callable[..., Any], result: Any) -> None:
        """What was returned, under the names it was returned by and under its roles."""
        names = returned_names(function)
        parts = list(result) if isinstance(result, tuple) else [result]
        if len(names) == len(parts):
            for name, part in zip(names, parts, strict=True):
                if name is not None and part is not None:
                    self.made.setdefault(name, part)
        rows, outputs = len(self.sample.x), self.sample.widths[-1]
        for part in parts:
            if self.form.output(part, rows, outputs) is not None:
                self.made["output"] = part
            elif isinstance(part, (dict, tuple, list)):
                self.made["cache"] = part
        if isinstance(result, (dict, list)):
            self.made["cache"] = result

    def output(self) -> Array | None:
        """The network's output, where a forward pass made it."""
        return self.form.output(self.made.get("output"), len(self.sample.x), self.sample.widths[-1])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Held still: no printing, no warnings, the same random numbers every time."""
    np.random.seed(0)  # noqa: NPY002  what other people's code draws from
    random.seed(0)
    torch = sys.modules.get("torch")
    dtype = None
    if torch is not None:  # weights that are drawn here have to take batches in float64
        torch.manual_seed(0)
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
    seeded = functools.partial(_seeded, np.random.default_rng)
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        np.errstate(all="ignore"),
        warnings.catch_warnings(),
        unittest.mock.patch.object(np.random, "default_rng", seeded),
        unittest.mock.patch.object(np.random, "RandomState", _SeededState),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            if torch is not None:
                torch.set_default_dtype(dtype)


class _SeededState(np.random.RandomState):
    """The same of the older kind."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(0 if seed is None else seed)


def _seeded(make: Callable[..., Any], seed: Any = None) -> Any:
    """A generator that nobody gave a seed is given one."""
    return make(0 if seed is None else seed)


@dataclass(frozen=True)
class Script:
    """Which functions are called, in turn, and which of them gives the loss.

    Attributes:
        steps: names; the last one leaves the gradients.
        cost: called last where no step reported the loss; "" for none.
        forwards: called before the cost where no step did: the output is wanted.
    """

    steps: tuple[str, ...]
    cost: str = ""
    forwards: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The calls in their order."""
        return ", then ".join(self.steps)


def run(session: Session, script: Script, plan: Plan | None = None) -> tuple[Answer, Plan | None]:
    """Run a script and read what it left.

    Args:
        session: a fresh one.
        script: the calls.
        plan: where the gradients lay at an earlier run; None to look for them.

    Returns:
        The answer, and the plan for the next run (None where the parameters were updated).

    Raises:
        NoGradientsError: nothing like gradients was returned, kept, or seen in the parameters.
        UnboundError: a parameter that nothing is known for.
        Exception: whatever the code raises.
    """
    before = session.before or session.slots.get()
    loss: float | None = None
    parts: dict[Any, Any] = {}
    result: Any = None
    for name in script.steps:
        result = session.call(name)
        if result is session.holder:
            result = None  # fit returns self
        value, parts = split_loss(result, returned_names(session.functions[name]), session.slots)
        loss = value if value is not None else loss
    after = session.slots.get()
    changed = [
        str(leaf)
        for leaf, was, now in zip(session.slots.all(), before, after, strict=True)
        if was.shape != now.shape or not np.array_equal(was, now)
    ]
    updates = any(words.role(n) == "lr" for n in _parameters(session, script.steps[-1]))
    found = _gradients(session, parts, plan, before) if not (updates and changed) else None
    rate = None
    if found is not None:
        values, plan, source = found
        if source == "updates":
            rate = session.rate
    elif changed:
        rate = session.rate
        values = [(was - now) / (rate or 1.0) for was, now in zip(before, after, strict=True)]
        source, plan = "updates", None
    else:
        raise NoGradientsError(", ".join(script.steps))
    # The loss and the output belong to the parameters that the gradients were taken at.
    if changed:
        for leaf, was in zip(session.slots.all(), before, strict=True):
            leaf.set(was)
    by_cost = loss is None
    if by_cost or script.forwards:
        value = _loss_afterwards(session, script)
        loss = value if by_cost else loss
    grad_weights, grad_biases = session.slots.canonical(values)
    # An object may keep gradients and step too; a function changes what is its caller's.
    kept_changes = changed if source == "returned" and session.holder is None else []
    answer = Answer(
        loss, session.output(), grad_weights, grad_biases, source, rate, kept_changes, by_cost
    )
    return answer, plan


def loss_alone(session: Session, script: Script, *, by_cost: bool) -> float | None:
    """The loss at the session's parameters: the one that `run` found, come by in the same way."""
    if by_cost:
        for name in script.forwards:
            with contextlib.suppress(UnboundError):
                session.forward(name)
        value, _ = split_loss(session.call(script.cost), [])
        return value
    loss: float | None = None
    for name in script.steps:
        result = session.call(name)
        value, _ = split_loss(result, returned_names(session.functions[name]), session.slots)
        loss = value if value is not None else loss
    return loss


def _loss_afterwards(session: Session, script: Script) -> float | None:
    if "output" not in session.made:
        for name in script.forwards:
            with contextlib.suppress(Exception):
                session.forward(name)
            if "output" in session.made:
                break
    if not script.cost:
        return None
    try:
        value, _ = split_loss(session.call(script.cost), [])
    except Exception:  # noqa: BLE001  whatever somebody's code raises: there is no loss then
        return None
    return value


def _parameters(session: Session, name: str) -> Sequence[str]:
    found = signature(session.functions[name])
    return found.names if found else ()


def _gradients(
    session: Session, parts: Mapping[Any, Any], plan: Plan | None, before: Sequence[Array]
) -> tuple[list[Any], Plan, str] | None:
    """(gradients, where they lie, "returned" | "kept" | "updates")."""
    structures = [("returned", leaves(dict(parts)))]
    if session.holder is not None:
        own = {leaf.path for leaf in session.slots.all()}
        kept = [leaf for leaf in leaves(session.holder) if leaf.path not in own]
        structures.append(("kept", [leaf for leaf in kept if _may_be_gradient(leaf)]))
    for source, found in structures:
        place = plan or find_gradients(found, session.slots)
        if place is None:
            continue
        values = read(found, place)
        if values is None or _are_equal(values, before):
            continue
        if source == "returned" and session.rate and _are_parameters(values, before):
            rate = session.rate
            return (
                [
                    None if v is None else (was - np.asarray(v).reshape(was.shape)) / rate
                    for v, was in zip(values, before, strict=True)
                ],
                place,
                "updates",
            )
        return values, place, source
    return None


def _are_equal(values: Sequence[Any], before: Sequence[Array]) -> bool:
    """Whether what was found are the parameters themselves."""
    return all(
        value is not None and np.array_equal(value, was)
        for value, was in zip(values, before, strict=True)
    )


def _are_parameters(values: Sequence[Any], before: Sequence[Array]) -> bool:
    """Whether what was returned are the parameters themselves, a step further."""
    moved = size = 0.0
    for value, was in zip(values, before, strict=True):
        if value is None:
            continue
        array = as_array(value)
        if array is None or array.size != was.size:
            return False
        moved += float(np.linalg.norm(array.ravel() - was.ravel()) ** 2)
        size += float(np.linalg.norm(was) ** 2)
    return moved <= 0.25 * size


_GRADIENT_WORDS = ("grad", "nabla", "dw", "db", "d_w", "d_b", "dtheta", "delta")


def _may_be_gradient(leaf: Leaf) -> bool:
    text = " ".join(str(step) for step in leaf.path).lower()
    return any(part in text for part in _GRADIENT_WORDS)
