"""The verdict on somebody's gradients: which network, which mistakes, and what was allowed for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from torchmlp.foreign.probe import Probe
from torchmlp.foreign.sheets import Sheet
from torchmlp.gradcheck.explain.mistakes import Mistake, mistake
from torchmlp.gradcheck.external.comparison import (
    cosine,
    external,
    given_gradients,
    right_gradients,
    which_are_right,
)
from torchmlp.gradcheck.external.gradients import NetworkSpec
from torchmlp.gradcheck.external.recognition import Recognised, all_kinds, by_losses, by_output

UNNAMED = 10.0  # the price of a gradient that nothing explains, in mistakes
RIGHT_SLOPE = 1e-5  # relative error of a gradient by differences of its own loss
SAME = 1 - 1e-6  # cosine of gradients that differ by a factor
FOLLOWED = 3  # kinds of network that are explained
GUESSED = 4  # ways of calling it that are looked at where no loss tells the network
FREE = (
    "not-averaged",
    "averaged-twice",
    "factor",
    "accumulated",
)  # where a rate or loss is unknown


@dataclass
class Line:
    """One batch and what became of its gradients."""

    rows: int
    widths: list[int]
    right: dict[str, bool]

    def __str__(self) -> str:
        """As it is printed."""
        samples = f"{self.rows} samples" if self.rows > 1 else "1 sample"
        verdicts = [f"d{name} {'right' if ok else 'WRONG'}" for name, ok in self.right.items()]
        return f"{samples}, {'-'.join(map(str, self.widths))}: {', '.join(verdicts)}"


@dataclass
class Verdict:
    """What is said of one way to call a network.

    Attributes:
        probe: the calls.
        network: what it computes, in words.
        lines: one for each batch.
        mistakes: nearest first; [] where every gradient is right.
        notes: what was allowed for: a factor, a rate, a regularisation.
        cost: in mistakes; how far it is from right.
        kind: the network; None where it is none that is known here.
    """

    probe: Probe
    network: str
    lines: list[Line] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cost: float = 0.0
    kind: NetworkSpec | None = None


def judge(
    probes: Sequence[Probe], known: Mapping[str, str], weight_decay: float, text: str
) -> Verdict | None:
    """The verdict on the likeliest of several ways to call one network, its updates included.

    Args:
        probes: the ways, the likeliest first.
        known: "activation", "output" and "loss", as far as the user has said.
        weight_decay: λ of ½ λ ‖W‖² in a loss that is not reported.
        text: the source code, whose names say what is likely.

    Returns:
        None where none of them can be judged.

    Raises:
        ValueError: gradients of a shape that none has, or not finite; named.
    """
    verdict = _judge_gradients(probes, known, weight_decay, text)
    if verdict is not None and not verdict.mistakes and verdict.kind is not None:
        for probe in probes:
            if probe.sheets[0].answer.source == "updates" and probe is not verdict.probe:
                _judge_update(verdict, probe)
    return verdict


def _judge_update(verdict: Verdict, probe: Probe) -> None:
    """Add what is wrong with an update of right gradients.

    It is one where every parameter moves along its own gradient, and they by factors that differ;
    anything else (momentum, a decay, several steps) is not judged.
    """
    sheet, kind = probe.sheets[0], verdict.kind
    given = external(sheet)
    first = verdict.probe.sheets[0].sample
    is_alike = sheet.sample.widths == first.widths and len(sheet.sample.x) >= len(first.x)
    if verdict.mistakes or kind is None or not is_alike or given.target_for(kind.loss) is None:
        return
    pairs = list(zip(given_gradients(given), right_gradients(given, Recognised(kind)), strict=True))
    if not all(abs(cosine(mine, its)) > 1 - 1e-5 for mine, its in pairs):
        return
    found, _ = _without_factor(_explained(sheet, Recognised(kind)), given.names())
    if found and _cost(found) < UNNAMED:
        verdict.mistakes, verdict.cost = found, _cost(found)
        verdict.notes.append(f"the gradients are right; the update by {probe.calls} is not")
        verdict.probe = replace(verdict.probe, lines={**verdict.probe.lines, **probe.lines})
        wrong = {name for m in found for name in m.parameters}
        right = {name: name not in wrong for name in given.names()}
        verdict.lines.append(Line(len(sheet.sample.x), sheet.sample.widths, right))


def _judge_gradients(
    probes: Sequence[Probe], known: Mapping[str, str], weight_decay: float, text: str
) -> Verdict | None:
    probes = _meant(probes)
    search = _Search()
    for probe in probes:
        found = by_losses(probe.sheets[0], probe.sheets[0].sample.labels, known)
        if found is None or (_is_summed(found, probe) and _is_for_one(probe, probes)):
            continue
        if search.take(probe, partial(_verdict, recognise=partial(_again, found=found))):
            return search.best
    if search.best is not None:
        return search.best
    by_slopes = sorted(
        (probe for probe in probes if probe.sheets[0].slopes),
        key=lambda probe: max(probe.sheets[0].slopes.values()),
    )
    if by_slopes and _slopes_are_right(by_slopes[0]):
        return _by_slopes(by_slopes[0])
    # The likeliest; and of those of equal sizes, for code whose shapes do not fit each other.
    plain, equal = ([p for p in probes if bool(p.where) == is_equal] for is_equal in (False, True))
    for probe in (*plain[:GUESSED], *equal[:GUESSED]):
        if search.take(probe, lambda p: _by_gradients(p, known, weight_decay, text)):
            return search.best
    if by_slopes and (search.best is None or search.best.cost >= UNNAMED):
        # What is read from an update has a factor of its own, and may be another thing altogether.
        is_update = by_slopes[0].sheets[0].answer.source == "updates"
        return None if is_update else _by_slopes(by_slopes[0])
    if search.best is None and search.refused:
        raise search.refused[0]
    return search.best


@dataclass
class _Search:
    """The best verdict on the ways looked at so far.

    Attributes:
        best: None before the first.
        refused: what was said of gradients of a shape or of numbers that none has.
    """

    best: Verdict | None = None
    refused: list[ValueError] = field(default_factory=list)

    def take(self, probe: Probe, judged: Callable[[Probe], Verdict | None]) -> bool:
        """Look at one more way; whether it is as good as there will be."""
        try:
            verdict = judged(probe)
        except ValueError as error:
            self.refused.append(error)
            return False
        if verdict is not None and (self.best is None or _is_better(verdict, self.best)):
            self.best = verdict
        return self.best is not None and self.best.cost <= 1


def _is_better(one: Verdict, other: Verdict) -> bool:
    """Whether a way of calling it is likelier; what shows in a batch alone, one sample hides."""
    hides = len(one.probe.sheets[0].sample.x) < len(other.probe.sheets[0].sample.x)
    return one.cost < other.cost and not (hides and other.cost < UNNAMED)


def _slopes_are_right(probe: Probe) -> bool:
    return max(probe.sheets[0].slopes.values()) <= RIGHT_SLOPE


def _meant(probes: Sequence[Probe]) -> list[Probe]:
    """The probes without the ones of a batch, where the code is for one sample at a time.

    It is where no bias gradient of a batch is summed, and no loss of one is reported.
    """
    kept = [p for p in probes if p.sheets[0].answer.loss is not None or not _is_unsummed(p)]
    return kept or list(probes)


def _is_unsummed(probe: Probe) -> bool:
    """Whether no bias gradient of a batch is summed over it."""
    sheet = probe.sheets[0]
    rows = len(sheet.sample.x)
    biases = [g for g in sheet.answer.grad_biases if g is not None]
    return rows > 1 and bool(biases) and all(np.shape(g)[:1] == (rows,) for g in biases)


def _is_summed(found: Recognised, probe: Probe) -> bool:
    """Whether the loss is a sum over the batch."""
    sample = probe.sheets[0].sample
    scale, outputs = found.kind.scale / len(sample.x), sample.widths[-1]
    return any(abs(scale / s - 1) < 1e-5 for s in (1, 2, 0.5, 1 / outputs, 2 / outputs))  # noqa: PLR2004  a fit's noise


def _is_for_one(probe: Probe, probes: Sequence[Probe]) -> bool:
    """Whether code that sums its loss over the batch, and no bias gradient, is for one sample."""
    return _is_unsummed(probe) and any(len(p.sheets[0].sample.x) == 1 for p in probes)


def _again(sheet: Sheet, found: Recognised | None) -> Recognised:
    """The same kind of network at another batch, whose size may be in its scale and its decay."""
    assert found is not None
    kind = found.kind
    known = {"activation": kind.activation, "output": kind.output, "loss": kind.loss}
    return by_losses(sheet, sheet.sample.labels, known) or found


def _explained(sheet: Sheet, found: Recognised) -> list[Mistake]:
    kind = found.kind
    bias_decay = found.bias_decay / kind.scale if sheet.answer.loss is not None else None
    return external(sheet).mistakes(kind, found.weight_decay / kind.scale, bias_decay)


def _verdict(
    probe: Probe, recognise: Callable[[Sheet], Recognised], *, is_free: bool = False
) -> Verdict:
    """The verdict where the network is recognised.

    Args:
        probe: the calls.
        recognise: the network, with the scale and the decay that a batch has.
        is_free: a positive factor of all gradients is no mistake.
    """
    first = probe.sheets[0]
    verdict = Verdict(probe, str(recognise(first)), kind=recognise(first).kind)
    is_free = is_free or first.answer.source == "updates" or first.answer.loss is None
    sheets = [first] if probe.again else probe.sheets
    factors: list[float] = []
    for sheet in sheets:
        if verdict.mistakes:  # they are named: the other batches only show where else they are seen
            right = which_are_right(sheet, recognise(sheet), is_free=is_free)
        else:
            found = _explained(sheet, recognise(sheet))
            if is_free:
                found, factor = _without_factor(found, external(sheet).names())
                factors += [factor] if factor else []
            wrong = {name for m in found if not m.alternative for name in m.parameters}
            right = {name: name not in wrong for name in external(sheet).names()}
            verdict.mistakes, verdict.cost = found, _cost(found)
        verdict.lines.append(Line(len(sheet.sample.x), sheet.sample.widths, right))
    if is_free:
        verdict.notes += _allowed(first, factors)
    _add_side_effects(verdict)
    return verdict


def _without_factor(
    found: Sequence[Mistake], names: Sequence[str]
) -> tuple[list[Mistake], float | None]:
    """The mistakes but for a positive factor on every gradient, and that factor."""
    kept, factor = [], None
    for one in found:
        if (
            one.name in FREE
            and set(names) <= set(one.parameters)
            and one.evidence.get("factor", -1.0) > 0
        ):
            factor = one.evidence["factor"] if not one.alternative else factor
        else:
            kept.append(one)
    # A sign comes with a factor of its own; an alternative of what is gone goes with it.
    if kept and all(one.alternative for one in kept):
        kept = []
    return kept, factor


def _allowed(sheet: Sheet, factors: Sequence[float]) -> list[str]:
    """What is said of a loss that is not reported, of a rate, of a factor."""
    notes = []
    answer = sheet.answer
    if answer.source == "updates":
        rate = "" if answer.rate is None else f", divided by the rate {answer.rate:g}"
        notes.append(f"the gradient is read from one update: before − after{rate}")
        if answer.rate is None and not factors:
            factors = [1.0]
    if factors and len(set(np.round(factors, 6))) == 1:
        subject = (
            "rate times gradient" if answer.source == "updates" and answer.rate is None else "it"
        )
        if subject == "it":
            notes.append(
                f"it is {factors[0]:.6g} times the gradient of this loss's mean over the batch"
            )
        else:
            notes.append(
                f"before − after is {factors[0]:.6g} times the gradient: the rate, and what stands "
                f"before it"
            )
    elif factors:
        shown = ", ".join(f"{factor:.6g}" for factor in factors)
        notes.append(
            f"it is the gradient of this loss times a factor that depends on the batch: {shown}"
        )
    if answer.loss is None:
        notes.append("no loss is reported: right up to a positive factor is right")
    return notes


def _cost(found: Sequence[Mistake]) -> float:
    return float(sum(UNNAMED if m.name == "unknown" else 1 for m in found if not m.alternative))


def _by_gradients(
    probe: Probe, known: Mapping[str, str], weight_decay: float, text: str
) -> Verdict | None:
    """The verdict where no loss tells the network: the kind that takes the fewest mistakes."""
    first = probe.sheets[0]
    seen = by_output(first, known)
    kinds = _nearest(first, seen or all_kinds(text, known))
    names = external(first).names()
    best: tuple[float, NetworkSpec, float] | None = None
    for kind in kinds:
        for decay in _decays(first, kind, weight_decay):
            found, _ = _without_factor(_explained(first, Recognised(kind, decay)), names)
            cost = _cost(found)
            if best is None or cost < best[0]:
                best = cost, kind, decay
        if best is not None and best[0] == 0:
            break
    # Neither a loss nor an output: what no network explains may be no gradient at all.
    if best is None or (best[0] >= UNNAMED and not seen):
        return None
    _, kind, decay = best
    verdict = _verdict(probe, lambda _: Recognised(kind, decay), is_free=True)
    slopes = first.slopes
    if slopes and not verdict.mistakes:  # right for another loss than the one that is reported
        depth = len(first.sample.weights)
        wrong = tuple(name for name, error in slopes.items() if error > RIGHT_SLOPE)
        note = f"it is that of {kind}, and the loss reported is none known here"
        evidence = {"relative error": max(slopes.values())}
        verdict.mistakes = [
            mistake("other-loss", depth, depth, parameters=wrong, evidence=evidence, note=note)
        ]
        verdict.cost = 1.0
        verdict.lines[0].right |= dict.fromkeys(wrong, False)
    return verdict


def _nearest(sheet: Sheet, kinds: Sequence[NetworkSpec]) -> list[NetworkSpec]:
    """The few kinds whose gradients are likest to the ones given, whatever their size.

    A mistake leaves most of them alone, those of the last layers above all; explaining each of
    dozens of kinds would take a second each.
    """
    given = external(sheet)
    scored = []
    for number, kind in enumerate(kinds):
        if given.target_for(kind.loss) is None:
            continue
        right = right_gradients(given, Recognised(kind))
        likeness = [abs(cosine(a, b)) for a, b in zip(given_gradients(given), right, strict=True)]
        scored.append((-sum(c > SAME for c in likeness), -sum(likeness), number, kind))
    return [kind for *_, kind in sorted(scored, key=lambda s: s[:3])][:FOLLOWED]


def _decays(sheet: Sheet, kind: NetworkSpec, weight_decay: float) -> list[float]:
    """The decay that was asked for, and one that all weight gradients hold alike."""
    if weight_decay:
        return [weight_decay]
    found = _explained(sheet, Recognised(kind))
    held = [m.evidence["weight decay"] for m in found if "weight decay" in m.evidence]
    if len(held) == len(sheet.sample.weights) and np.ptp(held) <= 1e-6 * abs(held[0]):
        return [0.0, abs(held[0])]
    return [0.0]


def _by_slopes(probe: Probe) -> Verdict:
    """The verdict by differences of the code's own loss, of a network that is not known here."""
    first = probe.sheets[0]
    depth = len(first.sample.weights)
    right = {name: error <= RIGHT_SLOPE for name, error in first.slopes.items()}
    verdict = Verdict(
        probe,
        "a network or loss that is not known here, judged by differences of its own loss",
        [Line(len(first.sample.x), first.sample.widths, right)],
    )
    if first.answer.source == "updates":
        verdict.notes.append(
            "the gradient is read from one update, and its factor is taken as it is"
        )
    wrong = tuple(name for name, ok in right.items() if not ok)
    if wrong:
        layer = max(int(name[1:]) for name in wrong)
        evidence = {"relative error": max(first.slopes[name] for name in wrong)}
        verdict.mistakes = [mistake("unknown", layer, depth, parameters=wrong, evidence=evidence)]
        verdict.cost = UNNAMED
    _add_side_effects(verdict)
    return verdict


def _add_side_effects(verdict: Verdict) -> None:
    """What the calls left behind: gradients added up, arguments changed."""
    probe, depth = verdict.probe, len(verdict.probe.sheets[0].sample.weights)
    if probe.again:
        ratio = max(probe.again.values())
        note = f"the second call with the same arguments gave {ratio:.3g} times the first"
        verdict.mistakes.insert(0, mistake(
            "accumulated", None, depth, parameters=tuple(probe.again),
            evidence={"factor": ratio}, note=note,
        ))  # fmt: skip
        for line in verdict.lines:
            line.right |= dict.fromkeys(probe.again, False)
    changed = probe.sheets[0].answer.changed
    if changed:
        said = mistake(
            "weight-already-updated", None, depth, parameters=tuple(changed), evidence={}
        )
        verdict.mistakes.append(replace(
            said,
            explanation=f"it changed {', '.join(changed)} in place and returned gradients too: a "
            f"parameter updated before the deltas have passed through it makes them wrong",
            correction="gradients only; the descent step afterwards, elsewhere",
        ))  # fmt: skip
