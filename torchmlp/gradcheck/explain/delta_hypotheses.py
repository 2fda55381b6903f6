"""Hypotheses for how a layer's delta was computed.

Each way names its mistake, "" where it is none. The right one comes first; among ways that lead to
the same numbers the earlier is the likelier.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  torch's own spelling

from torchmlp.gradcheck.explain.noise import slope
from torchmlp.gradcheck.explain.reference import LayerCase, Problem, output_gradient
from torchmlp.gradcheck.explain.slope_hypotheses import wrong_slopes
from torchmlp.kernels.losses import loss_delta


@dataclass(frozen=True)
class DeltaHypothesis:
    """One way to come by a delta.

    Attributes:
        mistakes: (name, layer, note) of each mistake made; several where two are made at once.
        delta: what the layer's gradients are formed of, (B, fan_out).
        passed: what goes on to the layer below, mostly `delta`.
        raw: `delta` before the activation's derivative, for gradients formed too early.
        extra: a second delta that is there in an unknown amount; None mostly.
    """

    mistakes: tuple[tuple[str, int, str], ...]
    delta: Tensor
    passed: Tensor
    raw: Tensor
    extra: Tensor | None = None


def last_deltas(problem: Problem) -> Iterator[DeltaHypothesis]:
    """Ways to δ_L = e'(a_L, t) ⊙ φ_L'(z_L)."""
    last = problem.layers[-1]
    number = last.number
    e = output_gradient(last.a, problem.target, problem.loss, has_softmax=problem.has_softmax)
    phi = last.slope(last.z)
    missing, doubled = "missing-output-derivative", "doubled-output-derivative"
    yield DeltaHypothesis((), last.delta, last.delta, e)
    yield from _kinks_the_other_way(last, e, ())
    if last.activation != "identity":
        yield DeltaHypothesis(((missing, number, "δ_L = e'(a_L, t)"),), e, e, e)
        yield DeltaHypothesis(((missing, number, "on the way down only"),), last.delta, e, e)
        yield DeltaHypothesis(((missing, number, "in the last gradients only"),), e, last.delta, e)
        yield _same(((doubled, number, "φ_L'² in place of φ_L'"),), e * phi * phi)
        for name, note, wrong in wrong_slopes(problem, last, e):
            if note:
                yield _through(e, wrong, ((name, number, note),))
    for note, raw in _left_out(problem, last, e) if not problem.has_softmax else ():
        yield _same(((missing, number, note),), raw * phi)
    for note, raw in _twice(problem, last, e):
        yield _same(((doubled, number, note),), raw * phi)
    for name, note, raw in _other_outputs(problem, last):
        yield DeltaHypothesis(((name, number, note),), raw * phi, raw * phi, raw)
        if last.activation != "identity":
            yield _same(((name, number, note), (missing, number, "and φ_L' is left out")), raw)
    for note, delta in _before_activation(problem, last):
        yield _same((("other-loss", number, note),), delta)
    # Squared error of a softmax with δ_L = p − t: that is how cross-entropy is descended.
    for note, raw in _left_out(problem, last, e) if problem.has_softmax else ():
        yield _same(((missing, number, note),), raw * phi)
    yield from _mixed(last, e, phi)


def hidden_deltas(
    problem: Problem, case: LayerCase, above: DeltaHypothesis, fit_above: Tensor
) -> Iterator[DeltaHypothesis]:
    """Ways to δ_l = (δ_{l+1} W_{l+1}) ⊙ φ_l'(z_l), given how δ_{l+1} was come by.

    Args:
        problem: the network.
        case: the layer l.
        above: the way to δ_{l+1}.
        fit_above: the weight gradient of the layer above as it was given: what that weight may
            have been updated with.
    """
    weight = problem.layers[case.number].layer.weight
    up, raw = case.number + 1, above.passed @ weight
    phi = case.slope(case.z)
    yield _through(raw, phi, ())
    yield from _kinks_the_other_way(case, raw, ())
    slopes = list(wrong_slopes(problem, case, raw))
    name = "missing-activation-derivative"
    for wrong_name, note, wrong in slopes:
        yield _through(raw, wrong, ((wrong_name, case.number, note),))
    if case.activation != "identity":
        right = raw * phi
        yield DeltaHypothesis(((name, case.number, "on the way down only"),), right, raw, raw)
        yield DeltaHypothesis(
            ((name, case.number, "in this layer's gradients only"),), raw, right, raw
        )
    yield from _mixed(case, raw, phi)
    forgotten = [way for way in slopes if way[0] != "wrong-mask"]
    for note, transposed in _wrong_matrices(problem, up):
        mistake = ("weight-not-transposed", up, note)
        yield _through(above.passed @ transposed, phi, (mistake,))
        for wrong_name, wrong_note, wrong in forgotten:
            yield _through(
                above.passed @ transposed, wrong, (mistake, (wrong_name, case.number, wrong_note))
            )
    if fit_above.shape == weight.shape:
        update = above.passed @ fit_above
        mistake = ("weight-already-updated", up, "")
        for wrong_name, note, wrong in [("", "", phi), *forgotten]:
            second = ((wrong_name, case.number, note),) if wrong_name else ()
            delta = raw * wrong
            yield DeltaHypothesis((mistake, *second), delta, delta, raw, extra=update * wrong)


def _same(mistakes: tuple[tuple[str, int, str], ...], delta: Tensor) -> DeltaHypothesis:
    return DeltaHypothesis(mistakes, delta, delta, delta)


def _through(
    raw: Tensor, slope_: Tensor, mistakes: tuple[tuple[str, int, str], ...]
) -> DeltaHypothesis:
    return DeltaHypothesis(mistakes, raw * slope_, raw * slope_, raw)


def _kinks_the_other_way(
    case: LayerCase, raw: Tensor, mistakes: tuple[tuple[str, int, str], ...]
) -> Iterator[DeltaHypothesis]:
    """At a kink either slope is right: z >= 0 for z > 0 is no mistake."""
    above = torch.nextafter(case.z, torch.full_like(case.z, torch.inf))
    other = case.slope(above)
    jumps = (other - case.slope(case.z)).abs() > 1e-6  # noqa: PLR2004  a rounding is none
    if bool(jumps.any()):
        yield _through(raw, other, mistakes)


def _mixed(case: LayerCase, raw: Tensor, phi: Tensor) -> Iterator[DeltaHypothesis]:
    """Samples of the batch taken together, or for each other."""
    name, number = "cross-sample", case.number
    if case.x.shape[0] == 1:
        return
    delta = raw * phi
    average = raw.mean(0, keepdim=True).expand_as(raw)
    yield _through(average, phi, ((name, number, "what arrives was averaged over the batch"),))
    even = delta.mean(0, keepdim=True).expand_as(delta).clone()
    yield _same(((name, number, "δ was averaged over the batch and given to every sample"),), even)
    mean_slope = phi.mean(0, keepdim=True).expand_as(phi)
    yield _through(raw, mean_slope, ((name, number, "φ' was averaged over the batch"),))
    at_mean = case.slope(case.z.mean(0, keepdim=True)).expand_as(phi)
    yield _through(raw, at_mean, ((name, number, "φ' was taken at the batch's mean"),))
    first = phi[:1].expand_as(phi)
    yield _through(raw, first, ((name, number, "φ' of the first sample for all"),))
    for shift, which in ((1, "before"), (-1, "after")):
        note = f"φ' of the sample {which} it"
        yield _through(raw, phi.roll(shift, 0), ((name, number, note),))
        note = f"δ of the sample {which} it"
        yield _same(((name, number, note),), delta.roll(shift, 0))


def _wrong_matrices(problem: Problem, up: int) -> Iterator[tuple[str, Tensor]]:
    """What stands in the place of W_up: its transpose, or another layer's weight of its shape."""
    weight = problem.layers[up - 1].layer.weight
    rows, columns = weight.shape
    if rows == columns:
        yield f"W_{up} transposed", weight.t()
    else:
        yield f"W_{up} reshaped instead of transposed", weight.t().reshape(rows, columns)
        yield f"W_{up} reshaped instead of transposed", weight.reshape(columns, rows).t()
    for other in problem.layers:
        its = other.layer.weight
        if other.number != up and its.shape == weight.shape:
            yield f"W_{other.number} in place of W_{up}", its
        if other.number != up and its.t().shape == weight.shape:
            yield f"W_{other.number} transposed in place of W_{up}", its.t()


def _one_hot(problem: Problem, like: Tensor) -> Tensor:
    target = problem.target
    if target.is_floating_point():
        return target
    return F.one_hot(target, like.shape[-1]).to(like.dtype)


def _left_out(problem: Problem, last: LayerCase, e: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The e' of losses that hold a softmax or a logistic function, without its derivative."""
    t = _one_hot(problem, e)
    if problem.has_softmax:
        p = torch.softmax(last.a, -1)
        grad_p = loss_delta(p, problem.target, problem.loss)
        yield "e'(p, t) without softmax's", grad_p
        yield "of softmax's Jacobian the diagonal p (1 − p) alone", grad_p * p * (1 - p)
    elif problem.loss == "cross_entropy":
        p = torch.softmax(last.a, -1)
        yield "−t / p, without softmax's", -t / p
        yield "of softmax's Jacobian the diagonal p (1 − p) alone", -t * (1 - p)
    elif problem.loss == "bce":
        p = torch.sigmoid(last.a)
        yield "(p − t) / (p (1 − p)), without the logistic function's", e / (p * (1 - p))


def _twice(problem: Problem, last: LayerCase, e: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The e' with the derivative of the output once more."""
    if problem.loss != "mse" or problem.has_softmax:
        p = torch.sigmoid(last.a) if problem.loss == "bce" else torch.softmax(last.a, -1)
        yield "p (1 − p) once more", e * p * (1 - p)
        yield "softmax's derivative once more", p * (e - (e * p).sum(-1, keepdim=True))
    if last.activation == "identity":
        yield "the logistic function's derivative besides", e * slope("sigmoid", last.z)
        for case in problem.layers[:-1]:
            if case.activation not in ("identity", "sigmoid"):
                yield f"the derivative of {case.activation} besides", e * case.slope(last.z)


def _squared(error: Tensor) -> Tensor:
    return 0.5 * error.square().sum()


_OTHERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": lambda o, t: -(t * torch.log_softmax(o, -1)).sum(),
    "squared error": lambda o, t: _squared(o - t),
    "binary cross-entropy": lambda o, t: F.binary_cross_entropy_with_logits(o, t, reduction="sum"),
    "squared error of the softmax": lambda o, t: _squared(torch.softmax(o, -1) - t),
    "squared error of the logistic function": lambda o, t: _squared(torch.sigmoid(o) - t),
    "cross-entropy with the softmax taken twice": lambda o, t: (
        -(t * torch.log_softmax(torch.softmax(o, -1), -1)).sum()
    ),
    "binary cross-entropy with the logistic function taken twice": lambda o, t: (
        F.binary_cross_entropy_with_logits(torch.sigmoid(o), t, reduction="sum")
    ),
    "log-likelihood without its logarithm": lambda o, t: -(t * o).sum(),
    "probability of the class, without the logarithm": lambda o, t: (
        -(t * torch.softmax(o, -1)).sum()
    ),
    "binary cross-entropy without its term (1 − t) log(1 − p)": lambda o, t: (
        -(t * F.logsigmoid(o)).sum()
    ),
    "absolute error": lambda o, t: (o - t).abs().sum(),
    "smooth absolute error": lambda o, t: F.smooth_l1_loss(o, t, reduction="sum"),
    "the logarithm of cosh": lambda o, t: torch.log(torch.cosh(o - t)).sum(),
    "the fourth power of the error": lambda o, t: 0.25 * (o - t).pow(4).sum(),
    "the distance, a root of squares for each sample": lambda o, t: (o - t).norm(dim=-1).sum(),
    "hinge loss of targets 0 and 1": lambda o, t: torch.relu(1 - (2 * t - 1) * o).sum(),
    "hinge loss": lambda o, t: torch.relu(1 - t * o).sum(),
    "binary cross-entropy of the output as a probability": lambda o, t: (
        F.binary_cross_entropy(o, t, reduction="sum") if _is_probability(o, t) else 0 * o.sum()
    ),
    "cross-entropy of the output as a probability": lambda o, t: -(t * o.log()).sum(),
}
_REPORTED = {
    "cross_entropy": "cross-entropy",
    "mse": "squared error",
    "bce": "binary cross-entropy",
}


def _is_probability(o: Tensor, t: Tensor) -> bool:
    return all(bool((p >= 0).all() and (p <= 1).all()) for p in (o, t))


def _before_activation(problem: Problem, last: LayerCase) -> Iterator[tuple[str, Tensor]]:
    """(note, δ_L) of losses that were taken of z_L where a_L is meant."""
    t = _one_hot(problem, last.a)
    for loss in _REPORTED.values() if last.activation != "identity" else ():
        note = f"it reports {_REPORTED[problem.loss]} and descends {loss} of z_{last.number}"
        yield f"{note}, before its activation", _slope_of(_OTHERS[loss], last.z, t)


def _other_outputs(problem: Problem, last: LayerCase) -> Iterator[tuple[str, str, Tensor]]:
    """(name, note, e'(a_L)) of other losses, other axes and other samples' targets."""
    t = _one_hot(problem, last.a)
    reported = _REPORTED[problem.loss]
    of_softmax = " of the softmax" if problem.has_softmax else ""
    for descended, function in _OTHERS.items():
        if descended != reported + of_softmax:
            note = f"it reports {reported}{of_softmax} and descends {descended}"
            yield "other-loss", note, _slope_of(function, last.a, t)
    if problem.loss != "cross_entropy":  # p − t as everybody writes it, whatever t sums to
        note = f"it reports {reported}{of_softmax} and descends cross-entropy"
        yield "other-loss", note, torch.softmax(last.a, -1) - t
    if problem.loss == "cross_entropy":
        name, over_batch = "softmax-wrong-axis", torch.softmax(last.a, 0)
        yield name, "over the batch", over_batch - t
        centred = last.a - last.a.amax(-1, keepdim=True)  # against overflow, row by row
        yield name, "over the batch", torch.softmax(centred, 0) - t
        everything = torch.softmax(last.a.flatten(), 0).reshape(last.a.shape)
        yield name, "over batch and classes together", everything - t
        derived = _slope_of(lambda o, t: -(t * torch.log_softmax(o, 0)).sum(), last.a, t)
        yield name, "over the batch", derived
    if problem.rows > 1:
        for shift, which in ((1, "before"), (-1, "after")):
            e = output_gradient(
                last.a,
                problem.target.roll(shift, 0),
                problem.loss,
                has_softmax=problem.has_softmax,
            )
            yield "cross-sample", f"the target of the sample {which} it", e
        if problem.outputs == 1:
            spread = last.a - t.mean(0, keepdim=True)
            yield "cross-sample", "(B, 1) − (B,) was spread to (B, B)", spread


def _slope_of(function: Callable[[Tensor, Tensor], Tensor], at: Tensor, t: Tensor) -> Tensor:
    at = at.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(function(at, t), at)
    return gradient
