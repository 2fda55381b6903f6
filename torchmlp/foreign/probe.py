"""Candidates called on random batches: every way that gives gradients, with what judging takes."""

import time
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torchmlp.foreign.attempts import (
    Attempt,
    is_of_shapes,
    limited,
    lines_run,
    place,
    progress,
    said,
)
from torchmlp.foreign.calling.binding import UnboundError
from torchmlp.foreign.calling.layouts import draw
from torchmlp.foreign.calling.matching import Plan
from torchmlp.foreign.calling.sessions import NoGradientsError
from torchmlp.foreign.calling.slots import FixedWidthsError
from torchmlp.foreign.sheets import Sheet, add_losses, again, ask, digest, lines_of
from torchmlp.foreign.styles import STYLES
from torchmlp.foreign.styles.way import Candidate, Way

INPUTS, HIDDEN, CLASSES, ROWS = 5, 8, 3, 7
MOST = 12  # ways of one candidate that are followed
TRIED = 3000  # ways of one candidate that are tried: a second or two
SECONDS = 2.0  # for one attempt to call something
PROBE_SECONDS = 10.0  # for all calls of one way
Shapes = list[tuple[int, list[int]]]  # (samples, widths) of each batch, the first one first


@dataclass
class Probe:
    """One way to call a candidate, and its sheets.

    Attributes:
        name: the candidate's.
        part: the part of it, "" for the whole.
        calls: what was called, in words.
        layout: how parameters and batch were taken, in words.
        sheets: of several shapes: unequal widths, equal ones, one sample, a deeper network.
        again: by tensor, how many times its gradient of the first call the second one's is, where
            they differ.
        raised: what another shape raised, "" for nothing.
        where: the user's file and line that it came from, "" where it is not known.
        lines: by tensor (W1, b1, ..., and δ1, ... for the deltas), the line that forms it.
    """

    name: str
    part: str
    calls: str
    layout: str
    sheets: list[Sheet]
    again: dict[str, float] = field(default_factory=dict)
    raised: str = ""
    where: str = ""
    lines: dict[str, str] = field(default_factory=dict)


def probe(
    fresh: Callable[[], Mapping[str, Any]],
    wanted: str | None,
    *,
    hidden: Sequence[int] | None = None,
    seconds: float = 60.0,
    files: Sequence[str] = (),
) -> tuple[list[Probe], list[Attempt]]:
    """Call everything in a module that may be a network.

    Args:
        fresh: gives the module's names, anew at each call where that can be.
        wanted: the function, class or Class.method asked for; None for whichever are found.
        hidden: widths of the hidden layers; None to choose them.
        seconds: after which no further candidate is begun.
        files: names of the user's files, for places in tracebacks.
    """
    end = time.process_time() + seconds
    probes: list[Probe] = []
    attempts: list[Attempt] = []
    best: int | None = None
    for number, candidate in enumerate(_candidates(fresh(), wanted)):
        if (best is not None and candidate.tier > best) or time.process_time() > end:
            continue

        def anew(number: int = number) -> Candidate:
            return _candidates(fresh(), wanted)[number]

        following = _Following(candidate, anew, hidden, end, files)
        following.run()
        probes += following.found
        if following.found:
            best = candidate.tier
        else:
            attempts.append(following.attempt())
    return probes, attempts


def _candidates(namespace: Mapping[str, Any], wanted: str | None) -> list[Candidate]:
    boxes = boxes_of(namespace)
    found = [candidate for style in STYLES for candidate in style(namespace, wanted, boxes)]
    return sorted(found, key=lambda candidate: candidate.tier)


def boxes_of(namespace: Mapping[str, Any]) -> list[str]:
    """What a module computes with, by its imports and theirs from its folder: likeliest first."""
    used = _libraries(namespace)
    for value in namespace.values():
        if isinstance(value, types.ModuleType) and "__skipped__" in vars(value):
            used |= _libraries(vars(value))
    if "torch" in used:
        return ["torch", "numpy"]
    return ["numpy", "lists"] if "numpy" in used else ["lists"]


def _libraries(namespace: Mapping[str, Any]) -> set[str]:
    """The top-level packages that the values of a namespace come from."""
    names = [getattr(value, "__module__", None) or "" for value in namespace.values()]
    names += [getattr(value, "__name__", "") for value in namespace.values()]
    names += [type(value).__module__ for value in namespace.values()]
    return {str(name).split(".")[0] for name in names}


class _Following:
    """The ways of one candidate, tried one after the other."""

    def __init__(
        self,
        candidate: Candidate,
        fresh: Callable[[], Candidate],
        hidden: Sequence[int] | None,
        end: float,
        files: Sequence[str],
    ) -> None:
        self.candidate, self.fresh, self.hidden = candidate, fresh, hidden
        self.end, self.files = end, files
        self.found: list[Probe] = []
        self.failed: dict[int, Exception] = {}
        self.seen: set[bytes] = set()
        self.tried = 0

    def run(self) -> None:
        """Unequal sizes of several classes first; then one output, then equal sizes.

        The last two are for code whose shapes do not fit each other otherwise. Batches in lists,
        where the code imports numpy, come at the very end.
        """
        boxes = [way.form.box for way in self.candidate.ways]
        usual = [number for number, box in enumerate(boxes) if box == boxes[0]]
        self._try("unequal", usual)
        if not self.found and any(is_of_shapes(error) for error in self.failed.values()):
            self._try("one output", usual)
            self._try("equal", self._furthest())
        if not self.found:
            self._try("unequal", [n for n, box in enumerate(boxes) if box != boxes[0]])

    def _try(self, sizes: str, numbers: Sequence[int]) -> None:
        for number in numbers:
            too_long = time.process_time() > self.end or self.tried > TRIED
            if too_long or len(self.found) >= MOST:
                return
            way = self.candidate.ways[number]
            shapes = _shapes_for(sizes, self.hidden, way)
            if not shapes:
                continue
            self.tried += 1
            try:
                result = self._followed(number, shapes, sizes)
            except Exception as error:  # noqa: BLE001  whatever somebody's code raises
                self.failed.setdefault(number, error)
                continue
            if result is not None:
                self.found.append(result)

    def _followed(self, number: int, shapes: Shapes, sizes: str) -> Probe | None:
        """The probe of a way; None where another way has led to the same numbers.

        It is made in a namespace of its own: what earlier calls left behind is not the candidate's.
        """
        with limited(SECONDS):
            first, _, shapes = _first(self.candidate.ways[number], shapes)
        key = digest(first)
        if key in self.seen or (sizes == "one output" and first.answer.loss == 0):
            return None  # a softmax of one output is always right
        self.seen.add(key)
        with limited(PROBE_SECONDS):
            result = _probe(self.candidate, self.fresh().ways[number], shapes, self.files)
        if sizes == "equal":
            error = self.failed[number]
            result.raised, result.where = said(error), place(error, self.files)
        return result

    def _furthest(self) -> list[int]:
        """The ways that came furthest into the code before shapes did not fit, of each script."""
        came: dict[int, int] = {}
        for number, error in self.failed.items():
            if not is_of_shapes(error) or not place(error, self.files):
                continue
            way = self.candidate.ways[number]
            rows, widths = _shapes_for("unequal", self.hidden, way)[0]

            def call(way: Way = way, rows: int = rows, widths: list[int] = widths) -> None:
                with limited(SECONDS):
                    ask(way, draw(rows, widths, 0), None)

            came[number] = lines_run(call, self.files)
        most: dict[str, int] = {}  # a training loop runs more lines than a gradient
        for number, lines in came.items():
            script = str(self.candidate.ways[number].script)
            most[script] = max(most.get(script, 0), lines)
        return [n for n, k in came.items() if k == most[str(self.candidate.ways[n].script)]]

    def attempt(self) -> Attempt:
        """What is said where nothing was found: of the attempt that came furthest."""
        error: Exception = max(
            self.failed.values(),
            key=lambda error: progress(error, self.files),
            default=UnboundError("its parameters' names say nothing of a batch or of weights"),
        )
        where = place(error, self.files)
        return Attempt(
            self.candidate.name, self.candidate.signature, said(error), where, self.tried
        )


def _shapes_for(sizes: str, hidden: Sequence[int] | None, way: Way) -> Shapes:
    """The batches of one round; [] where it is not for this way."""
    shapes = _shapes(hidden, way.depth)
    if sizes == "one output":
        if way.form.target == "labels from 1":
            return []
        shapes = [(rows, [*widths[:-1], 1]) for rows, widths in shapes if len(set(widths)) > 1]
    if sizes == "equal":
        shapes = [(rows, widths) for rows, widths in shapes if len(set(widths)) == 1]
    if way.form.one and not way.many:
        return [(1, widths) for _, widths in shapes[:2]] + [(1, shapes[0][1])]
    return [(ROWS, shapes[0][1]), *shapes] if sizes == "equal" else shapes


def _shapes(hidden: Sequence[int] | None, depth: int | None) -> Shapes:
    """(rows, widths): unequal ones tell transposes by shape, equal ones by value."""
    if hidden is None:
        hidden = [HIDDEN] if depth in (None, 2) else [HIDDEN, 11, 9, 12, 10, 14][: depth - 1]
    widths = [INPUTS, *hidden, CLASSES]
    square = [hidden[0] if hidden else 4] * len(widths)
    shapes = [(ROWS, widths), (square[0], square), (1, widths)]
    if depth is None and len(widths) == 3:  # noqa: PLR2004  one more hidden layer shows what one hides
        shapes.append((ROWS, [INPUTS, HIDDEN, 6, CLASSES]))
    return shapes


def _first(way: Way, shapes: Shapes) -> tuple[Sheet, Plan | None, Shapes]:
    rows, widths = shapes[0]
    try:
        sheet, plan = ask(way, draw(rows, widths, 0), None)
    except FixedWidthsError as error:
        if not 2 <= len(error.widths) <= 9 or max(error.widths) > 2000:  # noqa: PLR2004  no hand-written network
            raise
        shapes = [(rows, error.widths) for rows in dict.fromkeys(r for r, _ in shapes)]
        sheet, plan = ask(way, draw(rows, error.widths, 0), None)
    gradients = [
        *sheet.answer.grad_weights,
        *(g for g in sheet.answer.grad_biases if g is not None),
    ]
    if not any(np.any(np.nan_to_num(g)) for g in gradients):
        raise NoGradientsError("every gradient was zero")
    return sheet, plan, shapes


def _probe(candidate: Candidate, way: Way, shapes: Shapes, files: Sequence[str]) -> Probe:
    if len(set(shapes[0][1])) == 1:  # what unequal sizes tell of the layout serves here
        with suppress(Exception):
            way.start(draw(*_shapes(None, way.depth)[0], 0))
    first, plan, _ = _first(way, shapes)
    later = again(way, first, plan) if first.answer.source != "updates" else {}
    sheets = [first]
    raised = ""
    for k, (rows, widths) in enumerate(shapes[1:], 1):
        try:
            known = plan if len(widths) == len(shapes[0][1]) else None
            sheets.append(ask(way, draw(rows, widths, k), known)[0])
        except Exception as error:  # noqa: BLE001  whatever somebody's code raises
            raised = raised or f"{said(error)} ({rows} samples, {'-'.join(map(str, widths))})"
    for sheet in sheets:
        add_losses(way, sheet, with_slopes=sheet is first)
    lines = lines_of(way, first, plan, files)
    return Probe(
        candidate.name,
        candidate.part,
        str(way.script),
        f"{way.start(first.sample).slots.layout}; {way.form}",
        sheets,
        later,
        raised,
        lines=lines,
    )
