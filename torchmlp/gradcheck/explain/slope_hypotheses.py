"""What stands in the place of an activation's derivative where somebody got it wrong."""

# ruff: noqa: ARG005  every formula is one of z and a

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from torchmlp.gradcheck.explain.noise import slope
from torchmlp.gradcheck.explain.reference import LayerCase, Problem

_UNEVEN = {"leaky_relu", "elu", "selu"}  # φ'(−z) is neither φ'(z) nor 1 − φ'(z)
Formula = Callable[[Tensor, Tensor], Tensor]  # of z and a = φ(z)
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def wrong_slopes(
    problem: Problem, case: LayerCase, raw: Tensor
) -> Iterator[tuple[str, str, Tensor]]:
    """(name, note, what stands in the place of φ_l'(z_l)), φ_l' left out altogether first.

    Args:
        problem: the network.
        case: the layer l.
        raw: what arrives at it, before φ_l' is multiplied.
    """
    z, a, number = case.z, case.a, case.number
    yield missing_slope(problem, case), "", torch.ones_like(z)
    note = f"φ_{number}'(a_{number}) in place of φ_{number}'(z_{number})"
    yield "derivative-at-activation", note, case.slope(a)
    if case.activation in _IN_A:
        note = f"the formula in a_{number} was given z_{number}"
        yield "derivative-at-activation", note, _IN_A[case.activation](z)
    for wrong, formula, right, missing in _FORGOTTEN.get(case.activation, ()):
        note = f"{wrong} in place of {right}: {missing}"
        yield missing_slope(problem, case), _indexed(note, number), formula(z, a)
    for wrong, formula, right in _REPLACED.get(case.activation, ()):
        yield "wrong-mask", _indexed(f"{wrong} in place of {right}", number), formula(z, a)
    yield from _elsewhere(problem, case)
    note = "the other half of the units passes"
    yield "wrong-mask", note, 1 - case.slope(z)
    if case.activation in _UNEVEN:
        yield "wrong-mask", f"{note}, φ_{number}'(−z_{number})", case.slope(-z)
    yield "wrong-mask", "the sign of what arrives, not of z, decides", (raw > 0).to(z.dtype)
    guided = case.slope(z) * (raw > 0)
    yield "wrong-mask", "the sign of what arrives decides besides z", guided
    for name in ("relu", "leaky_relu", "sigmoid", "tanh"):
        if name != case.activation:
            yield "wrong-mask", f"the derivative of {name}", slope(name, z)
    if case.activation != "sigmoid":  # of whose a (1 − a) it is a factor
        yield "wrong-mask", f"a_{number} itself in place of φ_{number}'", a


def _elsewhere(problem: Problem, case: LayerCase) -> Iterator[tuple[str, str, Tensor]]:
    """φ' at another layer's values."""
    z, number = case.z, case.number
    for other in problem.layers:
        if other.number != number and other.z.shape == z.shape:
            note = f"φ' at z_{other.number} in place of z_{number}"
            yield "wrong-mask", note, case.slope(other.z)
            if other.activation != case.activation:
                yield "wrong-mask", f"{note}, with that layer's φ", other.slope(other.z)
            yield "wrong-mask", f"φ' at a_{other.number}", case.slope(other.a)
    if case.x.shape == z.shape:
        yield "wrong-mask", f"φ' at a_{number - 1} in place of z_{number}", case.slope(case.x)


def missing_slope(problem: Problem, case: LayerCase) -> str:
    """The name of a mistake that leaves out φ_l', or a part of it."""
    is_last = case.number == problem.depth
    return "missing-output-derivative" if is_last else "missing-activation-derivative"


def _indexed(note: str, number: int) -> str:
    words = (f"{w}_{number}" if w in ("a", "z") else w for w in note.split(" "))
    note = " ".join(words)
    for short in ("a²", "a)", "(z)", "−z", "|z|"):
        note = note.replace(short, short.replace("a", f"a_{number}").replace("z", f"z_{number}"))
    return note


def _tanh_of(z: Tensor) -> Tensor:
    """The tanh that gelu_tanh takes."""
    return torch.tanh(0.7978845608028654 * (z + 0.044715 * z**3))


_sigmoid = torch.sigmoid


def _density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z) * 0.3989422804014327


def _positive(z: Tensor, above: Tensor | float, below: Tensor | float) -> Tensor:
    return torch.where(z > 0, torch.as_tensor(above, dtype=z.dtype), below)


# fmt: off
# φ' as people write it with a alone.
_IN_A: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda a: a * (1 - a),
    "tanh": lambda a: 1 - a * a,
    "softplus": lambda a: 1 - torch.exp(-a),
    "logsigmoid": lambda a: 1 - torch.exp(a),
    "softsign": lambda a: (1 - a.abs()).square(),
    "elu": lambda a: torch.where(a > 0, 1.0, a + 1),
    "selu": lambda a: torch.where(a > 0, _SELU_SCALE, a + _SELU_SCALE * _SELU_ALPHA),
}

# A factor or a term of φ' forgotten: (what stands there, its formula, φ', what is missing).
_FORGOTTEN: dict[str, list[tuple[str, Formula, str, str]]] = {
    "sigmoid": [
        ("a", lambda z, a: a, "a (1 − a)", "the factor (1 − a) is missing"),
        ("1 − a", lambda z, a: 1 - a, "a (1 − a)", "the factor a is missing"),
        ("exp(−z)", lambda z, a: torch.exp(-z), "exp(−z) / (1 + exp(−z))²",
         "the denominator is missing"),
    ],
    "tanh": [
        ("1 − a", lambda z, a: 1 - a, "1 − a²", "the factor 1 + a is missing"),
        ("1 + a", lambda z, a: 1 + a, "1 − a²", "the factor 1 − a is missing"),
        ("1 / cosh(z)", lambda z, a: (1 - a * a).sqrt(), "1 / cosh(z)²",
         "the factor 1 / cosh(z) is missing"),
    ],
    "softplus": [
        ("exp(z)", lambda z, a: torch.exp(z), "exp(z) / (1 + exp(z))",
         "the denominator is missing"),
        ("1 / (1 + exp(z))", lambda z, a: _sigmoid(-z), "exp(z) / (1 + exp(z))",
         "the factor exp(z) is missing"),
    ],
    "logsigmoid": [
        ("exp(−z)", lambda z, a: torch.exp(-z), "exp(−z) / (1 + exp(−z))",
         "the denominator is missing"),
        ("σ(z)", lambda z, a: _sigmoid(z), "1 − σ(z)", "the 1 − is missing"),
    ],
    "softsign": [
        ("1 / (1 + |z|)", lambda z, a: 1 - a.abs(), "1 / (1 + |z|)²",
         "the factor 1 / (1 + |z|) is missing"),
    ],
    "leaky_relu": [
        ("0 below zero", lambda z, a: _positive(z, 1.0, 0.0), "0.01", "the leak is missing"),
    ],
    "elu": [
        ("exp(z) everywhere", lambda z, a: torch.exp(z), "1 above zero", "the branch is missing"),
        ("a + 1 everywhere", lambda z, a: a + 1, "1 above zero", "the branch is missing"),
        ("a below zero", lambda z, a: _positive(z, 1.0, a), "a + 1", "the + 1 is missing"),
    ],
    "selu": [
        ("1 and α exp(z)", lambda z, a: slope("selu", z) / _SELU_SCALE, "λ and λ α exp(z)",
         "the factor λ = 1.0507 is missing"),
        ("λ exp(z) below zero", lambda z, a: _positive(z, _SELU_SCALE, _SELU_SCALE * torch.exp(z)),
         "λ α exp(z)", "the factor α = 1.6733 is missing"),
        ("α exp(z) below zero", lambda z, a: _positive(z, _SELU_SCALE, _SELU_ALPHA * torch.exp(z)),
         "λ α exp(z)", "the factor λ = 1.0507 is missing"),
        ("a below zero", lambda z, a: _positive(z, _SELU_SCALE, a), "a + λ α",
         "the + λ α is missing"),
    ],
    "silu": [
        ("σ(z)", lambda z, a: _sigmoid(z), "σ(z) + z σ'(z)", "the term z σ'(z) is missing"),
        ("z σ'(z)", lambda z, a: z * slope("sigmoid", z), "σ(z) + z σ'(z)",
         "the term σ(z) is missing"),
        ("σ(z) + σ'(z)", lambda z, a: _sigmoid(z) + slope("sigmoid", z), "σ(z) + z σ'(z)",
         "the factor z is missing"),
        ("σ(z) + z (1 − σ(z))", lambda z, a: _sigmoid(z) + z * _sigmoid(-z), "σ(z) + z σ'(z)",
         "the factor σ(z) is missing"),
        ("a + σ(z)", lambda z, a: a + _sigmoid(z), "a + σ(z) (1 − a)",
         "the factor (1 − a) is missing"),
    ],
    "gelu": [
        ("Φ(z)", lambda z, a: slope("gelu", z) - z * _density(z), "Φ(z) + z Φ'(z)",
         "the term z Φ'(z) is missing"),
        ("z Φ'(z)", lambda z, a: z * _density(z), "Φ(z) + z Φ'(z)", "the term Φ(z) is missing"),
        ("Φ(z) + Φ'(z)", lambda z, a: slope("gelu", z) + (1 - z) * _density(z), "Φ(z) + z Φ'(z)",
         "the factor z is missing"),
    ],
    "gelu_tanh": [
        ("½ (1 + tanh(u))", lambda z, a: 0.5 * (1 + _tanh_of(z)),
         "½ (1 + tanh(u)) + ½ z tanh'(u) u'", "the term ½ z tanh'(u) u' is missing"),
        ("½ z tanh'(u) u'", lambda z, a: slope("gelu_tanh", z) - 0.5 * (1 + _tanh_of(z)),
         "½ (1 + tanh(u)) + ½ z tanh'(u) u'", "the term ½ (1 + tanh(u)) is missing"),
        ("½ z tanh'(u)", lambda z, a: 0.5 * (1 + _tanh_of(z)) + 0.5 * z * (1 - _tanh_of(z) ** 2),
         "½ z tanh'(u) u'", "the factor u' is missing"),
    ],
    "mish": [
        ("tanh(s)", lambda z, a: torch.tanh(torch.nn.functional.softplus(z)),
         "tanh(s) + z tanh'(s) σ(z)", "the term z tanh'(s) σ(z) is missing"),
        ("z tanh'(s)", lambda z, a: _mish_without(z, torch.ones_like(z)), "z tanh'(s) σ(z)",
         "the factor σ(z) is missing"),
        ("σ(z) tanh'(s)", lambda z, a: _mish_without(z, _sigmoid(z) / z), "z tanh'(s) σ(z)",
         "the factor z is missing"),
    ],
    "hardtanh": [
        ("1 for z < 1", lambda z, a: (z < 1).to(z.dtype), "1 for −1 < z < 1",
         "the lower bound is missing"),
        ("1 for z > −1", lambda z, a: (z > -1).to(z.dtype), "1 for −1 < z < 1",
         "the upper bound is missing"),
    ],
    "relu6": [
        ("1 for z > 0", lambda z, a: (z > 0).to(z.dtype), "1 for 0 < z < 6",
         "the upper bound is missing"),
        ("1 for z < 6", lambda z, a: (z < 6).to(z.dtype), "1 for 0 < z < 6",  # noqa: PLR2004  the kink, from the definition
         "the lower bound is missing"),
    ],
    "hardswish": [
        ("(z + 3) / 6", lambda z, a: ((z + 3) / 6).clamp(0, 1), "(2 z + 3) / 6",
         "the term z / 6 is missing"),
        ("2 z + 3", lambda z, a: _inner(z, 2 * z + 3), "(2 z + 3) / 6",
         "the factor 1/6 is missing"),
        ("(2 z + 3) / 6 everywhere", lambda z, a: (2 * z + 3) / 6, "0 and 1 beyond ±3",
         "the branches are missing"),
    ],
}

# Something else in the place of φ' or of a part of it: (what stands there, its formula, φ').
_REPLACED: dict[str, list[tuple[str, Formula, str]]] = {
    "relu": [("z", lambda z, a: z, "1 for z > 0")],
    "sigmoid": [
        ("1 − a²", lambda z, a: 1 - a * a, "a (1 − a)"),
        ("a²", lambda z, a: a * a, "a (1 − a)"),
        ("a (1 + a)", lambda z, a: a * (1 + a), "a (1 − a)"),
    ],
    "tanh": [
        ("a²", lambda z, a: a * a, "1 − a²"),
        ("1 + a²", lambda z, a: 1 + a * a, "1 − a²"),
        ("a (1 − a)", lambda z, a: a * (1 - a), "1 − a²"),
        ("(1 − a)²", lambda z, a: (1 - a).square(), "1 − a²"),
    ],
    "leaky_relu": [
        ("0.01 above zero and 1 below", lambda z, a: _positive(z, 0.01, 1.0), "1 and 0.01"),
        ("0.2 below zero", lambda z, a: _positive(z, 1.0, 0.2), "0.01"),
        ("0.1 below zero", lambda z, a: _positive(z, 1.0, 0.1), "0.01"),
        ("−0.01 below zero", lambda z, a: _positive(z, 1.0, -0.01), "0.01"),
    ],
    "elu": [("exp(z) − 1 + z below zero", lambda z, a: _positive(z, 1.0, a + z), "exp(z)")],
    "gelu": [("the slope of the tanh form", lambda z, a: slope("gelu_tanh", z), "Φ(z) + z Φ'(z)")],
    "gelu_tanh": [("Φ(z) + z Φ'(z)", lambda z, a: slope("gelu", z), "the slope of the tanh form")],
    "softplus": [("exp(−z)", lambda z, a: torch.exp(-z), "exp(z) / (1 + exp(z))")],
}
# fmt: on


def _mish_without(z: Tensor, factor: Tensor) -> Tensor:
    t = torch.tanh(torch.nn.functional.softplus(z))
    return t + z * (1 - t * t) * factor


def _inner(z: Tensor, value: Tensor) -> Tensor:
    """The value between −3 and 3, and hardswish's slope elsewhere."""
    return torch.where(z.abs() < 3, value, slope("hardswish", z))  # noqa: PLR2004  the kink, from the definition
