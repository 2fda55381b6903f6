"""Functions that are handed the parameters: one for all, or forward, cost, backward and update."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torchmlp.foreign.calling import words
from torchmlp.foreign.calling.binding import role_in, shown, signature
from torchmlp.foreign.calling.layouts import LAYOUTS, Form, Sample
from torchmlp.foreign.calling.sessions import DECAY, RATE, Script, Session
from torchmlp.foreign.calling.slots import Finder, Slots
from torchmlp.foreign.styles.defined import classes_of, functions_of
from torchmlp.foreign.styles.structure import Structure, sizes
from torchmlp.foreign.styles.structures import structures
from torchmlp.foreign.styles.way import Candidate, Way

Functions = Mapping[str, Callable[..., Any]]


def candidates(
    namespace: Mapping[str, Any], wanted: str | None, boxes: Sequence[str]
) -> Iterator[Candidate]:
    """The functions of a module that may leave gradients, each with the ways to call it."""
    functions = functions_of(namespace)
    if wanted is not None and wanted not in functions:
        return
    for name, function in functions.items() if wanted is None else [(wanted, functions[wanted])]:
        tier = _tier(name, function)
        if tier is None and wanted is None:
            continue
        others = {n: f for n, f in functions.items() if n != name}
        ways = list(_ways(name, functions, others, boxes, classes_of(namespace)))
        if ways or wanted is not None:  # what was asked for is told of, even if it cannot be called
            yield Candidate(name, tier or 0, ways, shown(function, name))


def _tier(name: str, function: Callable[..., Any]) -> int | None:
    """When a function is tried: those that return gradients, then those that update."""
    found = signature(function)
    if found is None or not found.names:
        return None
    roles = {role_in(function, n) for n in found.names}
    word = name.lower()
    updates = bool(words.UPDATE.search(word)) or "lr" in roles
    has_target = bool(roles & {"y", "pairs", "output"})
    has_parameters = bool(roles & {"params", "weights", "weight"})
    tiers = {
        0: words.BACKWARD.search(word)
        and not updates
        and (has_target or "cache" in roles)
        and not ("grad" in roles and "y" not in roles),
        1: has_target and "x" in roles and has_parameters and not updates,
        4: has_target and "x" in roles and has_parameters,
        5: words.UPDATE.search(word) and "lr" in roles and has_parameters and "grad" not in roles,
        6: _makes_its_own(function),
    }
    is_initial = bool(words.INITIAL.match(word))
    return next((tier for tier, holds in tiers.items() if holds and not is_initial), None)


def _ways(
    name: str,
    functions: Functions,
    others: Functions,
    boxes: Sequence[str],
    classes: Mapping[str, type],
) -> Iterator[Way]:
    function = functions[name]
    forwards = tuple(
        n
        for n in others
        if words.is_forward(n)
        and not words.UPDATE.search(n.lower())
        and not words.INITIAL.match(n.lower())
    )
    backwards = tuple(
        n for n in others if words.BACKWARD.search(n.lower()) and _tier(n, others[n]) is not None
    )
    costs = [
        n
        for n in others
        if words.COST.search(n.lower())
        and not words.BACKWARD.search(n.lower())
        and not _is_derivative(n)
    ]
    roles = {words.role(n) for n in signature(function).names}  # type: ignore[union-attr]  # it has one
    steps: list[tuple[str, ...]] = [(name,)]
    if forwards:
        steps += [(forward, name) for forward in forwards]
        if len(forwards) > 1:
            steps.append((*forwards, name))
    if "lr" in roles and backwards:
        steps += [(*forwards[:1], backward, name) for backward in backwards]
        steps = steps[1:] + steps[:1]
    if _makes_its_own(function):
        for form in forms(boxes):
            yield Way(
                _trained(functions, name, form), Script((name,), "", forwards), form, text="trained"
            )
        return
    needed = [*(functions[f] for f in forwards), *(functions[b] for b in backwards), function]
    for structure in structures(functions, [function, *needed], classes):
        for form in forms(boxes):
            for step in steps:
                for cost in [*costs, ""] if costs else [""]:
                    yield Way(
                        _starter(functions, structure, form),
                        Script(step, cost, forwards),
                        form,
                        depth=structure.depth,
                        text=structure.text,
                    )


def _makes_its_own(function: Callable[..., Any]) -> bool:
    """Whether a function trains parameters that nobody hands over: sizes and data are enough."""
    found = signature(function)
    roles = {words.role(n) for n in found.names} if found else set()
    return {"x", "y", "epochs"} <= roles and not roles & {"params", "weights", "weight"}


def _trained(functions: Functions, name: str, form: Form) -> Callable[[Sample], Session]:
    """Sessions at the parameters that a training function returns after no epochs."""
    find = Finder()

    def start(sample: Sample) -> Session:
        known = {**sizes(sample.widths), **known_values(sample, form)}
        none = Session(
            dict(functions), {**known, "epochs": 0}, Slots([], [], LAYOUTS[0]), form, sample
        )
        none.call(name)
        made = none.made
        slots = find(made, sample.widths)
        own = sample.with_parameters(*slots.canonical(slots.get()))
        return Session(dict(functions), known, slots, form, own)

    return start


def _is_derivative(name: str) -> bool:
    word = name.lower()
    return any(part in word for part in ("prime", "deriv", "grad", "delta")) or word.startswith(
        "d_"
    )


def forms(boxes: Sequence[str]) -> list[Form]:
    """Every form a batch may be taken in, the likeliest first."""
    targets = ("one-hot", "labels", "labels from 1", "column")
    return [
        Form(columns, target, one, box)
        for box in boxes
        for one in (False, True)
        for columns in (False, True)
        for target in (targets[:2] if one else targets)
    ]


def known_values(sample: Sample, form: Form) -> dict[str, Any]:
    """What is known for every call: the batch, and settings that make one step of it."""

    def batch(rows: slice) -> tuple[Any, Any]:
        return form.batch(sample.x[rows], sample.labels[rows], sample.widths[-1])

    each = [slice(k, k + 1) for k in range(len(sample.x))]
    x, y = batch(each[0] if form.one else slice(None))
    return {
        "x": x,
        "y": y,
        "pairs": [batch(one) for one in each],
        "rows": [[*sample.x[k].tolist(), int(sample.labels[k])] for k in range(len(sample.x))],
        "lr": RATE,
        "reg": DECAY,
        "epochs": 1,
        "batch_size": max(1, len(sample.x)),
        "samples": len(sample.x),
        "quiet": False,
        "train": True,
        "seed": 0,
    }


def _starter(functions: Functions, structure: Structure, form: Form) -> Callable[[Sample], Session]:
    def start(sample: Sample) -> Session:
        values, slots = structure.build(sample.widths, form)
        slots.set(sample.weights, sample.biases)
        return Session(
            dict(functions), {**known_values(sample, form), **values}, slots, form, sample
        )

    return start
