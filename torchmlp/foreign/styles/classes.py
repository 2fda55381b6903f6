"""Classes that keep their parameters: made of sizes or of data, asked or trained one step."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torchmlp.foreign.calling import words
from torchmlp.foreign.calling.binding import bind, shown, signature
from torchmlp.foreign.calling.layouts import Form, Sample
from torchmlp.foreign.calling.sessions import Script, Session, quiet
from torchmlp.foreign.calling.slots import Finder
from torchmlp.foreign.calling.trees import Box
from torchmlp.foreign.styles.defined import classes_of, functions_of
from torchmlp.foreign.styles.functions import forms, known_values
from torchmlp.foreign.styles.makers import made
from torchmlp.foreign.styles.way import Candidate, Way


def candidates(
    namespace: Mapping[str, Any], wanted: str | None, boxes: Sequence[str]
) -> Iterator[Candidate]:
    """The classes of a module that hold a network, each with the ways to call it."""
    name, _, method = (wanted or "").partition(".")
    for class_name, kind in classes_of(namespace).items():
        if wanted is not None and class_name != name:
            continue
        if _is_module(kind):
            continue
        ways = list(_ways(kind, method or None, namespace, boxes))
        if ways:
            init = shown(kind, class_name)
            yield Candidate(class_name, 2, ways, init)


def _is_module(kind: type) -> bool:
    """Whether a class is torch's, which another style takes."""
    return any(base.__module__.startswith("torch.") for base in kind.__mro__)


def methods_of(kind: type) -> dict[str, Any]:
    """The methods of a class and of those it inherits from, its own first."""
    found: dict[str, Any] = {}
    for base in kind.__mro__[:-1]:
        for name, value in vars(base).items():
            inner = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            if inspect.isfunction(inner) and (not name.startswith("__") or name == "__call__"):
                found.setdefault(name, inner)
    return found


def _ways(
    kind: type, method: str | None, namespace: Mapping[str, Any], boxes: Sequence[str]
) -> Iterator[Way]:
    scripts = list(_scripts(kind, method))
    helpers = {**functions_of(namespace), **_static_costs(namespace)}
    costs = [
        n
        for n in helpers
        if words.COST.search(n.lower())
        and not any(p in n.lower() for p in ("prime", "deriv", "grad", "delta"))
    ]
    for form in forms(boxes):
        for script in scripts:
            many = "pairs" in _roles(methods_of(kind)[script.steps[-1]])
            if many and not form.one:
                continue
            for makes_zero in (False, True) if _trains(script) else (False,):
                fitted = script if makes_zero else None
                finder = Finder()
                for find in (finder, finder.other()):
                    start = _starter(kind, form, helpers, fitted, find)
                    for cost in (script.cost,) if script.cost else (*costs, ""):
                        yield Way(start, replace(script, cost=cost), form, many=many)


def _static_costs(namespace: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """Losses that are static methods of a class: QuadraticCost.fn(a, y)."""
    costs: dict[str, Callable[..., Any]] = {}
    for name, kind in classes_of(namespace).items():
        if not words.COST.search(name.lower()):
            continue
        for method, value in vars(kind).items():
            found = signature(value.__func__) if isinstance(value, staticmethod) else None
            if found is not None and len(found.required) == 2:  # noqa: PLR2004  output and target
                costs[f"{name}_{method}"] = partial(_of_output, value.__func__)
    return {name: cost for name, cost in costs.items() if not name.endswith(("delta", "prime"))}


def _of_output(cost: Callable[[Any, Any], Any], output: Any, y: Any) -> Any:
    return cost(output, y)


def _scripts(kind: type, method: str | None) -> Iterator[Script]:
    """Calls that may leave gradients: of a method alone, or after a forward pass."""
    methods = methods_of(kind)
    roles = {name: _roles(function) for name, function in methods.items()}
    plain = [n for n in methods if words.is_forward(n) and not words.UPDATE.search(n.lower())]
    forwards = tuple(n for n in plain if not roles[n] & {"y", "grad"})
    with_loss = tuple(n for n in plain if {"x", "y"} <= roles[n])  # forward(x, y) -> loss
    costs = [
        n for n in methods
        if words.COST.search(n.lower()) and not words.BACKWARD.search(n.lower())
        and not any(part in n.lower() for part in ("prime", "deriv", "delta"))
    ]  # fmt: skip
    asked = [
        n
        for n in methods
        if words.BACKWARD.search(n.lower()) or (words.COST.search(n.lower()) and n in costs)
    ]
    trained = [n for n in methods if words.UPDATE.search(n.lower()) or "lr" in roles[n]]
    updates = [n for n in trained if not roles[n] & {"x", "y", "pairs"}]
    targets = [n for n in (*asked, *trained, *methods) if n not in forwards or n in trained]
    if method is not None:
        targets = [method]
    for name in dict.fromkeys(targets):
        own = [c for c in costs if c != name][:2]
        for cost in [*own, ""]:
            rest = forwards if name not in forwards else ()
            backward_first = "x" not in roles[name] or words.BACKWARD.search(name.lower())
            for forward in (*rest[:3], *with_loss) if backward_first else ():
                if forward != name:
                    yield Script((forward, name), cost, rest)
            yield Script((name,), cost, rest)
            if words.BACKWARD.search(name.lower()):
                for update in updates:  # a gradient that is kept where it cannot be seen
                    for forward in rest[:2]:
                        yield Script((forward, name, update), cost, rest)
                    yield Script((name, update), cost, rest)


def _roles(function: Callable[..., Any]) -> set[str | None]:
    found = signature(function)
    return {words.role(name) for name in found.names} if found else set()


def _trains(script: Script) -> bool:
    return bool(words.UPDATE.search(script.steps[-1].lower()))


def make(kind: type, sample: Sample, form: Form) -> Any:
    """An instance: of sizes where the constructor's parameters are sizes, else of the batch.

    Raises:
        UnboundError: a parameter that nothing is known for.
        FixedWidthsError: it takes another number of sizes.
    """
    return made(kind, sample.widths, known_values(sample, form))


def _starter(
    kind: type,
    form: Form,
    helpers: Mapping[str, Callable[..., Any]],
    fitted: Script | None,
    find: Finder,
) -> Callable[[Sample], Session]:
    """Makes sessions with an instance of their own.

    Args:
        kind: the class.
        form: how it takes a batch.
        helpers: functions of the module, that a loss may be among.
        fitted: a script to be run for no epochs first: it makes the parameters. None mostly.
        find: finds the parameters in an instance.
    """

    def start(sample: Sample) -> Session:
        if find.is_needless():
            raise LookupError("there is no other way to see it")
        instance = make(kind, sample, form)
        values = known_values(sample, form)
        box = Box(instance)
        before = None
        if fitted is not None:
            _run_for_no_epochs(instance, fitted, values)
        slots = find(box, sample.widths)
        if fitted is None:
            slots.set(sample.weights, sample.biases)
        else:  # another instance draws the same ones, when it is trained
            before = slots.get()
            sample = sample.with_parameters(*slots.canonical(before))
            box.content = instance = make(kind, sample, form)
        bound = {name: getattr(instance, name) for name in methods_of(kind)}
        constructed = signature(kind)
        told = constructed is not None and any(words.role(n) == "lr" for n in constructed.names)
        return Session(
            {**helpers, **bound},
            values,
            slots,
            form,
            sample,
            holder=instance,
            rate=values["lr"] if told else None,
            before=before,
        )

    return start


def _run_for_no_epochs(instance: Any, script: Script, values: Mapping[str, Any]) -> None:
    for name, value in list(vars(instance).items()):
        if words.role(name) == "epochs" and isinstance(value, int):
            setattr(instance, name, 0)
    with quiet():
        bind(getattr(instance, script.steps[-1]), {**values, "epochs": 0})()
