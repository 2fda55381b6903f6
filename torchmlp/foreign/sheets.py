"""One batch handed to somebody's code, and all that is measured of its answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torchmlp.foreign.calling.layouts import Array, Sample, draw_parameters
from torchmlp.foreign.calling.matching import Plan
from torchmlp.foreign.calling.sessions import Answer, loss_alone, run
from torchmlp.foreign.calling.slots import Slots
from torchmlp.foreign.lines import formed_at
from torchmlp.foreign.styles.flat_vector import FlatSlots
from torchmlp.foreign.styles.way import Way

DRAWS = 8  # losses at other parameters, by which what a loss is made of is told


@dataclass
class Sheet:
    """One batch, and what a way answered.

    Attributes:
        sample: the batch and parameters.
        answer: the loss, output and gradients.
        losses: the loss at `draws`; empty where none is reported.
        draws: other parameters, (weights, biases) each.
        slopes: by tensor (W1, b1, ...), the relative error of the gradient along some directions,
            by differences of the reported loss; empty where none is reported.
    """

    sample: Sample
    answer: Answer
    losses: list[float] = field(default_factory=list)
    draws: list[Sequence[list[Array]]] = field(default_factory=list)
    slopes: dict[str, float] = field(default_factory=dict)


def ask(way: Way, sample: Sample, plan: Plan | None) -> tuple[Sheet, Plan | None]:
    """Call somebody's code once; the sheet, and where its gradients lay (for the next call)."""
    session = way.start(sample)
    answer, plan = run(session, way.script, plan)
    weights, biases = session.sample.weights, session.sample.biases
    return Sheet(
        session.sample.with_parameters(weights, _used(session.slots, biases)), answer
    ), plan


def _used(slots: Slots, biases: Sequence[Array]) -> list[Array]:
    """The biases, zero where the program has none."""
    if slots.layout.is_merged or isinstance(slots, FlatSlots):
        return list(biases)
    return [
        b if leaf is not None else np.zeros(weight.get().shape[slots.layout.in_out])
        for leaf, b, weight in zip(slots.biases, biases, slots.weights, strict=True)
    ]


def add_losses(way: Way, sheet: Sheet, *, with_slopes: bool) -> None:
    """Losses at other parameters, and slopes of the loss at these."""
    if sheet.answer.loss is None:
        return
    random = np.random.default_rng(len(sheet.sample.x))

    def loss(weights: list[Array], biases: list[Array]) -> float:
        session = way.start(sheet.sample.with_parameters(weights, biases))
        value = loss_alone(session, way.script, by_cost=sheet.answer.by_cost)
        return float("nan") if value is None else value

    widths = sheet.sample.widths
    try:
        for _ in range(DRAWS):
            weights, biases = draw_parameters(widths, random)
            biases = [b * np.any(own) for b, own in zip(biases, sheet.sample.biases, strict=True)]
            sheet.draws.append((weights, biases))
            sheet.losses.append(loss(weights, biases))
        if with_slopes:
            sheet.slopes = _slopes(sheet, loss, random)
    except Exception:  # noqa: BLE001  whatever somebody's code raises: the loss is judged without
        sheet.losses, sheet.draws = [], []


def _slopes(sheet: Sheet, loss: Any, random: np.random.Generator) -> dict[str, float]:
    """‖given − slope‖ / ‖given‖ along random directions, by central differences of the loss."""
    weights, biases = sheet.sample.weights, sheet.sample.biases
    errors: dict[str, float] = {}
    for k in range(len(weights)):
        for kind, tensors, given in (
            ("W", weights, sheet.answer.grad_weights), ("b", biases, sheet.answer.grad_biases),
        ):  # fmt: skip
            gradient = given[k]
            if gradient is None:
                continue
            if np.shape(gradient) != tensors[k].shape:
                errors[f"{kind}{k + 1}"] = 1.0
                continue
            size = float(np.linalg.norm(gradient))
            gaps, slopes = [], []
            for _ in range(3):
                direction = random.choice([-1.0, 1.0], size=tensors[k].shape)
                best = (np.inf, 0.0)
                for step in (1e-5, 1e-6, 1e-4):  # a kink lies within one step, seldom within all
                    sides = []
                    for sign in (step, -step):
                        moved = [np.array(t) for t in tensors]
                        moved[k] = moved[k] + sign * direction
                        both = (moved, biases) if kind == "W" else (weights, moved)
                        sides.append(loss(list(both[0]), list(both[1])))
                    slope = (sides[0] - sides[1]) / (2 * step)
                    gap = abs(slope - float(np.sum(gradient * direction)))
                    best = min(best, (gap, slope))
                    if gap <= 1e-6 * max(size, 1e-6):
                        break
                gaps.append(best[0])
                slopes.append(best[1])
            scale = max(size, float(np.sqrt(np.mean(np.square(slopes)))), 1e-12)
            errors[f"{kind}{k + 1}"] = float(np.sqrt(np.mean(np.square(gaps)))) / scale
    return errors


def again(way: Way, first: Sheet, plan: Plan | None) -> dict[str, float]:
    """How many times the first call's gradients a later one's are, where they differ.

    Once more at the same arguments; and twice in the same session, whose object may keep something.
    """
    session = way.start(first.sample)
    for _ in range(2):
        try:
            session.slots.set(first.sample.weights, first.sample.biases)
            session.made.clear()
            session.clear()
            later, _ = run(session, way.script, plan)
        except Exception:  # noqa: BLE001  whatever somebody's code raises
            return {}
        if ratios := _ratios(first.answer, later):
            return ratios
    return {}


def _ratios(first: Answer, later: Answer) -> dict[str, float]:
    ratios = {}
    for kind, ours, theirs in (
        ("W", first.grad_weights, later.grad_weights), ("b", first.grad_biases, later.grad_biases),
    ):  # fmt: skip
        for k, (was, now) in enumerate(zip(ours, theirs, strict=True), 1):
            if was is None or now is None or np.shape(was) != np.shape(now):
                continue
            size = float(np.abs(was).sum())
            if float(np.abs(was - now).sum()) > 1e-9 * size:  # rounding apart
                ratios[f"{kind}{k}"] = float(np.abs(now).sum()) / max(size, 1e-300)
    return ratios


def lines_of(way: Way, first: Sheet, plan: Plan | None, files: Sequence[str]) -> dict[str, str]:
    """Where the gradients are formed; where updates show them, where the parameters are set."""
    session = way.start(first.sample)
    try:
        answer = first.answer
        found = _named(answer.grad_weights, answer.grad_biases)
        wanted = {name: np.asarray(g) for name, g in found if g is not None}
        sums = {f"δ{name[1:]}": g for name, g in wanted.items() if name[0] == "b"}
        if answer.source == "updates":
            own = _named(first.sample.weights, first.sample.biases)
            rate = answer.rate or 1.0
            wanted = {name: p - rate * wanted[name] for name, p in own if name in wanted}
        rows = 1 if way.form.one else len(first.sample.x)
        return formed_at(lambda: run(session, way.script, plan), wanted, sums, rows, files)
    except Exception:  # noqa: BLE001  whatever somebody's code raises: there are no lines then
        return {}


def _named(weights: Sequence[Any], biases: Sequence[Any]) -> list[tuple[str, Any]]:
    """W1, W2, ..., b1, b2, ... with what belongs to each."""
    return [
        (f"{kind}{k}", g)
        for kind, part in (("W", weights), ("b", biases))
        for k, g in enumerate(part, 1)
    ]


def digest(sheet: Sheet) -> bytes:
    """What tells two ways apart that compute something else."""
    answer = sheet.answer
    numbers = [answer.loss or 0.0]
    for part in (*answer.grad_weights, *answer.grad_biases):
        if part is not None:
            array = np.asarray(part, dtype=float)
            numbers += [float(np.size(array)), float(array.sum()), float(np.abs(array).sum())]
    return np.round(np.array(numbers), 9).tobytes()
