"""Gradients with a planted mistake are explained by that mistake, right ones by none."""

import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tests import ROOT
from tests.gradcheck.plants import pairs, plants
from tests.gradcheck.textbook import Case, network, random_case, right_gradients
from tests.problems import ACTIVATION_NAMES
from torchmlp import MLP
from torchmlp.gradcheck import explain_gradients
from torchmlp.gradcheck.explain.mistakes import NAMES

LOSSES = ("cross_entropy", "mse", "bce")
# The gradient of a batch or of weights that nobody hands over cannot be told from one batch: it is
# detected, and called unknown. The other two are a threshold and a way of taking samples for each
# other that are as well called otherwise.
NOT_NAMED = {
    ("accumulated", "other-batch"),
    ("accumulated", "step-before"),
    ("wrong-mask", "shifted"),
    ("wrong-mask", "sample-before"),
    ("wrong-mask", "first-sample"),
}


def case_of(seed: int) -> Case:
    """Depth 1 to 6, every activation, every loss, equal widths now and then."""
    depth = seed % 6 + 1
    output = ("sigmoid", "tanh")[seed // 4 % 2] if seed % 4 == 0 else "identity"
    return random_case(
        seed,
        depth,
        ACTIVATION_NAMES[seed % len(ACTIVATION_NAMES)],
        LOSSES[seed // 2 % 3],
        output_activation=output,
        widths=(4,) * (depth + 1) if seed % 5 == 0 else None,
    )


def score(seeds: range) -> tuple[Counter[str], Counter[str], list[Any]]:
    """How many plants of each name there were and were named exactly; what was not.

    Of each case one plant of every name that it has room for.
    """
    planted: Counter[str] = Counter()
    exact: Counter[str] = Counter()
    missed: list[Any] = []
    for seed in seeds:
        case, by_name = case_of(seed), defaultdict(list)
        for plant in plants(case):
            by_name[plant.name].append(plant)
        for plant in (random.Random(seed).choice(some) for some in by_name.values()):
            found = explain_gradients(
                network(case), case.loss, case.x, case.target, plant.gradients, **plant.kwargs
            )
            assert found, f"undetected: {plant.name}/{plant.variant}, layer {plant.layer}, {seed=}"
            variant = plant.variant.removesuffix("-odd-shape").removesuffix("-none")
            if (plant.name, variant) in NOT_NAMED:
                continue
            planted[plant.name] += 1
            first = (found[0].name, found[0].layer)
            if first in {(plant.name, plant.layer), *plant.also}:
                exact[plant.name] += 1
            else:
                missed.append((seed, plant.name, plant.variant, plant.layer, first))
    return planted, exact, missed


def test_planted_mistakes_are_named() -> None:
    """Of single mistakes all are detected and 95 % named exactly, by name and layer."""
    planted, exact, missed = score(range(6))
    assert planted.total() > 75
    assert exact.total() >= 0.95 * planted.total(), missed


def every_kind_is_named() -> None:
    """The same over more networks; and each name by itself is right in four of five cases."""
    planted, exact, missed = score(range(30, 48))
    assert set(planted) == set(NAMES) - {"unknown"}
    assert exact.total() >= 0.95 * planted.total(), missed
    for name, count in planted.items():
        assert exact[name] >= 0.8 * count, [m for m in missed if m[1] == name]


def pairs_are_taken_apart() -> None:
    """Of likely pairs of mistakes all are detected, and in 90 % both are named."""
    count = both = 0
    for seed in range(9):
        case, draw = case_of(seed), random.Random(seed)
        for pair in pairs(case):
            if draw.random() > 0.1:
                continue
            found = explain_gradients(
                network(case), case.loss, case.x, case.target, pair.gradients, **pair.kwargs
            )
            assert found, pair.mistakes
            count += 1
            both += {name for name, _, _ in pair.mistakes} <= {m.name for m in found}
    assert count > 50
    assert both >= 0.9 * count


def a_thousand_networks_without_a_false_alarm() -> None:
    """1000 random networks, float32 and float64: silence."""
    for seed in range(100, 1100):
        assert explain_gradients(*autograd_case(seed)) == [], seed


@pytest.mark.slow
@pytest.mark.parametrize(
    "claim",
    [
        every_kind_is_named,
        pairs_are_taken_apart,
        a_thousand_networks_without_a_false_alarm,
    ],
    ids=lambda claim: claim.__name__,
)
def test_at_length(claim: Callable[[], None]) -> None:
    """The claims above that take many networks, in a process that checks no annotations."""
    program = f"from tests.gradcheck.explain.test_search import {claim.__name__} as claim; claim()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_textbook_gradients_are_right() -> None:
    """Right gradients, computed in numpy, hold no mistake."""
    for seed in range(24):
        case = case_of(seed)
        given = right_gradients(case)
        assert explain_gradients(network(case), case.loss, case.x, case.target, given) == []


def test_softplus_above_torchs_threshold_is_right() -> None:
    """Of z above 20 torch's softplus is z, numpy's log(1 + exp(z)): both are right."""
    case = random_case(6, 3, "softplus", "mse")
    case = replace(case, weights=[8 * weight for weight in case.weights])
    given = right_gradients(case)
    assert explain_gradients(network(case), case.loss, case.x, case.target, given) == []


def autograd_case(seed: int) -> tuple[nn.Sequential, str, Tensor, Tensor, list[Tensor]]:
    """A random network of 1 to 6 layers, in float32 or float64, and autograd's gradients."""
    torch.manual_seed(seed)
    loss, depth = LOSSES[seed % 3], seed % 6 + 1
    widths = [int(width) for width in torch.randint(1, 24, (depth + 1,))]
    output = ACTIVATION_NAMES[seed // 3 % len(ACTIVATION_NAMES)] if seed % 3 == 0 else "identity"
    activation = ACTIVATION_NAMES[seed % len(ACTIVATION_NAMES)]
    rows = int(torch.randint(1, 20, ()))
    mlp = MLP(widths[0], widths[1:-1], widths[-1], activation, output)
    for bias in mlp.biases if seed % 2 else []:
        assert bias is not None
        nn.init.normal_(bias, 0, 0.3)
    x, target = torch.randn(rows, widths[0]), torch.rand(rows, widths[-1])
    if seed % 4 == 0:
        mlp, x, target = mlp.double(), x.double(), target.double()
    if loss == "cross_entropy":
        target = torch.randint(widths[-1], (rows,))
    plain = mlp.to_sequential()
    value = loss_of(plain(x), target, loss)
    return plain, loss, x, target, list(torch.autograd.grad(value, list(plain.parameters())))


def loss_of(output: Tensor, target: Tensor, loss: str) -> Tensor:
    """The loss by torch.nn.functional."""
    if loss == "cross_entropy":
        return F.cross_entropy(output, target)
    if loss == "mse":
        return 0.5 * (output - target).square().sum(-1).mean()
    return F.binary_cross_entropy_with_logits(output, target, reduction="none").sum(-1).mean()


def test_autograds_gradients_are_right() -> None:
    """60 random networks, float32 and float64: silence."""
    for seed in range(60):
        assert explain_gradients(*autograd_case(seed)) == [], seed


def mnist_case(rows: int = 32) -> tuple[nn.Sequential, Tensor, Tensor, dict[str, Tensor]]:
    """784-128-10 in float32, with a batch and its right gradients."""
    torch.manual_seed(0)
    plain = MLP(784, [128], 10).to_sequential()
    x, target = torch.rand(rows, 784), torch.randint(10, (rows,))
    gradients = torch.autograd.grad(F.cross_entropy(plain(x), target), list(plain.parameters()))
    names = [name for name, _ in plain.named_parameters()]
    return plain, x, target, dict(zip(names, gradients, strict=True))


def test_large_matrices_are_compared_in_full() -> None:
    """784-128-10: transposed, one element wrong, another layer's product; float32."""
    plain, x, target, right = mnist_case()
    assert explain_gradients(plain, "cross_entropy", x, target, right) == []
    (found,) = explain_gradients(
        plain, "cross_entropy", x, target, right | {"0.weight": right["0.weight"].t()}
    )
    assert (found.name, found.layer) == ("transposed-weight-gradient", 1)
    wrong = right["0.weight"].clone()
    wrong[5, 300] += 0.01 * wrong.norm()
    (found,) = explain_gradients(plain, "cross_entropy", x, target, right | {"0.weight": wrong})
    assert (found.name, found.layer, found.parameters) == ("unknown", 1, ("0.weight",))
    assert found.evidence["relative error"] == pytest.approx(0.01, rel=0.01)
    assert found.evidence["cosine"] == pytest.approx(1, abs=1e-3)


def test_the_origins_case() -> None:
    """It reports squared error and descends cross-entropy: said exactly so."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3), nn.Softmax(-1)).double()
    x, target = torch.randn(7, 6).double(), F.one_hot(torch.randint(3, (7,)), 3).double()
    torch.autograd.backward(F.cross_entropy(network[:3](x), target))
    given = {name: p.grad for name, p in network.named_parameters()}
    found = explain_gradients(network, "mse", x, target, given)[0]
    assert (found.name, found.layer) == ("other-loss", 2)
    said = "it reports squared error of the softmax and descends cross-entropy"
    assert found.explanation.endswith(said)
    logits = nn.Sequential(*list(network)[:3])
    found = explain_gradients(logits, "mse", x, target, given)[0]
    assert found.explanation.endswith("it reports squared error and descends cross-entropy")


def test_right_mean_of_squares_is_a_factor() -> None:
    """torch.nn.MSELoss is 2/K of this package's mse, and is explained by that factor."""
    case = random_case(1, 2, "tanh", "mse", widths=(4, 5, 7))
    plain = network(case)
    value = F.mse_loss(plain(torch.tensor(case.x)), torch.tensor(case.target))
    torch.autograd.backward(value)
    given = [p.grad for p in plain.parameters()]
    (found,) = explain_gradients(plain, "mse", case.x, case.target, given)
    assert (found.name, found.layer) == ("factor", None)
    assert found.evidence["factor"] == pytest.approx(2 / 7)
    assert "2/K = 2/7" in found.explanation


def test_what_a_mistake_says() -> None:
    """Name, layer, parameters, numbers, and the corrected line with the layer's own indices."""
    case = random_case(2, 3, "sigmoid", "mse")
    wrong = next(
        p for p in plants(case) if (p.variant, p.layer) == ("slope", 2) and p.name.startswith("mis")
    )
    (found,) = explain_gradients(network(case), "mse", case.x, case.target, wrong.gradients)
    assert (found.name, found.layer) == ("missing-activation-derivative", 2)
    assert found.parameters == ("2.weight", "2.bias", "0.weight", "0.bias")
    assert found.correction == "δ_2 = (δ_3 W_3) ⊙ φ_2'(z_2)"
    assert found.evidence["relative error"] > 0.1
    assert found.evidence["left unexplained"] < 1e-12
    text = str(found)
    assert text.splitlines()[0].startswith("missing-activation-derivative, layer 2 (2.weight")
    assert "correct: δ_2" in text


def test_update_rate_is_measured() -> None:
    """A weight that was updated too early gives away the rate."""
    case = random_case(3, 2, "tanh", "cross_entropy")
    wrong = next(p for p in plants(case) if p.variant == "rate-0.1")
    (found,) = explain_gradients(
        network(case), "cross_entropy", case.x, case.target, wrong.gradients
    )
    assert (found.name, found.layer) == ("weight-already-updated", 2)
    assert found.evidence["rate"] == pytest.approx(0.1, rel=1e-6)


def test_ambiguity_is_shown() -> None:
    """Twice the gradient is a factor, or two calls added up: both are said, one as alternative."""
    plain, x, target, right = mnist_case()
    found = explain_gradients(
        plain, "cross_entropy", x, target, {name: 2 * g for name, g in right.items()}
    )
    assert [(m.name, m.alternative) for m in found] == [("factor", False), ("accumulated", True)]
    assert str(found[1]).startswith("or accumulated")


def test_forms_of_input() -> None:
    """An MLP or its plain copy; a list, a dict, arrays, float32, rows of numpy's keepdims."""
    torch.manual_seed(0)
    mlp = MLP(4, [5], 3, "tanh")
    x, target = torch.randn(6, 4), torch.randint(3, (6,))
    right = list(torch.autograd.grad(F.cross_entropy(mlp(x), target), list(mlp.parameters())))
    names = [name for name, _ in mlp.named_parameters()]
    arrays = [g.numpy() for g in right]
    rows = [a[None, :] if a.ndim == 1 else a for a in arrays]
    for given in (right, dict(zip(names, right, strict=True)), arrays, rows):
        assert explain_gradients(mlp, "cross_entropy", x, target, given) == []
        assert explain_gradients(mlp, "cross_entropy", x.numpy(), target.numpy(), given) == []
    found = explain_gradients(mlp, "cross_entropy", x, target, [None, None, *right[2:]])
    assert [(m.name, m.layer) for m in found] == [("detached-layer", 1)]


def test_decay_of_biases_is_left_open() -> None:
    """With weight decay biases may decay or not; weights have to."""
    plain, x, target, right = mnist_case()
    decay = 0.1
    weights_only = {
        n: g + decay * p.detach() * (p.ndim == 2)
        for (n, p), g in zip(plain.named_parameters(), right.values(), strict=True)
    }
    everything = {
        n: g + decay * p.detach()
        for (n, p), g in zip(plain.named_parameters(), right.values(), strict=True)
    }
    for given in (weights_only, everything):
        assert explain_gradients(plain, "cross_entropy", x, target, given, weight_decay=decay) == []
    found = explain_gradients(plain, "cross_entropy", x, target, right, weight_decay=decay)
    assert [(m.name, m.layer) for m in found] == [("weight-decay-missing", None)]
    found = explain_gradients(plain, "cross_entropy", x, target, weights_only)
    assert found[0].name == "unknown"
    assert found[0].evidence["weight decay"] == pytest.approx(decay, rel=1e-4)


def decayed(
    plain: nn.Module, right: dict[str, Tensor], weights: float, biases: float
) -> dict[str, Tensor]:
    """The gradients with these decays added."""
    return {
        name: right[name] + (weights if p.ndim == 2 else biases) * p.detach()
        for name, p in plain.named_parameters()
    }


@pytest.mark.parametrize(
    ("given", "meant", "names"),
    [
        ((0.1, 0.0), (0.1, 0.0), set()),
        ((0.1, 0.1), (0.1, 0.1), set()),
        ((0.1, 0.3), (0.1, 0.3), set()),
        ((0.1, 0.1), (0.1, 0.0), {"bias-decayed"}),
        ((0.1, 0.0), (0.1, 0.1), {"weight-decay-missing"}),
        ((0.05, 0.0), (0.1, 0.0), {"weight-decay-halved"}),
        ((0.05, 0.05), (0.1, None), {"weight-decay-halved"}),
        ((0.2, 0.0), (0.1, None), {"weight-decay-doubled"}),
        ((3.2, 0.0), (0.1, None), {"factor"}),  # times B
        ((0.1 / 32, 0.0), (0.1, None), {"factor"}),
        ((0.0, 0.1), (0.0, None), {"unknown"}),
    ],
)
def test_decay(
    given: tuple[float, float], meant: tuple[float, float | None], names: set[str]
) -> None:
    """Of weights and of biases: right, missing, doubled, halved, off by B; measured where wrong."""
    plain, x, target, _ = mnist_case()
    for p in plain.parameters():
        nn.init.normal_(p, 0, 0.1)
    value = F.cross_entropy(plain(x), target)
    gradients = torch.autograd.grad(value, list(plain.parameters()))
    names_of = [name for name, _ in plain.named_parameters()]
    right = dict(zip(names_of, gradients, strict=True))
    found = explain_gradients(
        plain, "cross_entropy", x, target, decayed(plain, right, *given),
        weight_decay=meant[0], bias_decay=meant[1],
    )  # fmt: skip
    assert {m.name for m in found} == names
    for m in found:
        of_bias = all(name.endswith("bias") for name in m.parameters)
        assert m.evidence["weight decay"] == pytest.approx(given[of_bias], rel=1e-3, abs=1e-6)
    if names == {"factor"}:
        assert "B = 32" in found[0].explanation


def softplus_chain(scale: float) -> tuple[nn.Sequential, Tensor, Tensor]:
    """Four layers whose output grows with the fourth power of `scale`, and a batch for bce."""
    torch.manual_seed(0)
    plain = MLP(4, [5, 5, 5], 2, "softplus").to_sequential()
    with torch.no_grad():
        for p in plain.parameters():
            p.abs_().mul_(scale)
    return plain, torch.rand(6, 4), torch.randint(2, (6, 2)).float()


def test_extreme_numbers_are_never_accused() -> None:
    """Huge outputs, and fits so good that the right gradient is what roundings leave."""
    plain, x, target = softplus_chain(1e4)
    gradients = torch.autograd.grad(loss_of(plain(x), target, "bce"), list(plain.parameters()))
    assert explain_gradients(plain, "bce", x, target, gradients) == []
    last = nn.Linear(5, 3)
    tanh = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), last)
    with torch.no_grad():
        last.weight.mul_(1e8)
    labels = target[:, 0].long()
    gradients = torch.autograd.grad(F.cross_entropy(tanh(x), labels), list(tanh.parameters()))
    assert explain_gradients(tanh, "cross_entropy", x, labels, gradients) == []
    for off in (0.0, 1e-7):  # the loss is 0, or what a rounding makes of it
        fit = tanh(x).detach() * (1 + off)
        gradients = torch.autograd.grad(loss_of(tanh(x), fit, "mse"), list(tanh.parameters()))
        assert explain_gradients(tanh, "mse", x, fit, gradients) == []
        zeros = [torch.zeros_like(g) for g in gradients]
        assert explain_gradients(tanh, "mse", x, fit, zeros) == []


def test_what_overflows_cannot_be_judged() -> None:
    """In float32, and in float64 too: said, and the gradients are not accused."""
    plain, x, target = softplus_chain(1e12)
    gradients = torch.autograd.grad(loss_of(plain(x), target, "bce"), list(plain.parameters()))
    with pytest.raises(ValueError, match=r"cannot be judged: overflow: .* too large for torch\.fl"):
        explain_gradients(plain, "bce", x, target, gradients)
    plain, x, target = softplus_chain(1e38)
    with pytest.raises(
        ValueError, match=r"cannot be judged: overflow: .* numbers of 2\.5\d+e\+153"
    ):
        explain_gradients(plain.double(), "bce", x, target, [g * torch.nan for g in gradients])


def spoilt(right: dict[str, Tensor], name: str, value: Any) -> dict[str, Any]:
    """The gradients with one of them replaced."""
    return right | {name: value}


def test_mistakes_are_explained() -> None:
    """What cannot be compared is refused: the tensor is named, with both shapes."""
    plain, x, target, right = mnist_case()

    def refused(kind: type[Exception], text: str, given: Any, **other: Any) -> None:
        arguments: dict[str, Any] = {
            "network": plain, "loss": "cross_entropy", "x": x, "target": target
        } | other  # fmt: skip
        with pytest.raises(kind, match=text):
            explain_gradients(**arguments, gradients=given)

    refused(
        ValueError,
        r"gradient of 0\.weight has shape \(128, 783\), its parameter has shape \(128, 784\)",
        spoilt(right, "0.weight", torch.zeros(128, 783)),
    )
    refused(
        ValueError,
        r"gradient of 2\.bias has shape \(11,\), its parameter has shape \(10,\)",
        spoilt(right, "2.bias", torch.zeros(11)),
    )
    refused(
        ValueError,
        r"the gradient of 0\.bias, shape \(128,\), .* 128 of 128 elements are nan",
        spoilt(right, "0.bias", torch.full((128,), torch.nan)),
    )
    refused(
        TypeError,
        r"for the gradient of 2\.bias, got torch\.int64 of shape \(10,\)",
        spoilt(right, "2.bias", np.zeros(10, dtype=np.int64)),
    )
    missing = {name: g for name, g in right.items() if name != "2.weight"}
    refused(ValueError, r"no gradient for '2\.weight'; expected one for each of 0\.wei", missing)
    refused(ValueError, r"a gradient for 'W3'", right | {"W3": torch.zeros(1)})
    refused(ValueError, r"got 3 gradients; expected 4", list(right.values())[:3])
    refused(
        ValueError, r"expected x of shape \(B, 784\) .*, got shape \(32, 28\)", right, x=x[:, :28]
    )
    refused(ValueError, r"target of shape \(32,\) for an output", right, target=target[:5])
    refused(ValueError, r"unknown loss 'ce'", right, loss="ce")
    refused(ValueError, r"expected weight_decay >= 0, got -1", right, weight_decay=-1.0)
    refused(TypeError, r"expected an MLP or .*, got Linear", right, network=nn.Linear(3, 2))
    dropping = MLP(784, [128], 10, dropout=0.5)
    refused(
        ValueError,
        r"drops units at random .* network\.eval\(\)",
        list(right.values()),
        network=dropping,
    )


@pytest.mark.parametrize(
    ("activation", "variant", "name", "note"),
    [
        ("tanh", "tanh: 1 − a", "missing-activation-derivative",
         "1 − a_1 in place of 1 − a_1²: the factor 1 + a_1 is missing"),
        ("sigmoid", "sigmoid: a", "missing-activation-derivative",
         "a_1 in place of a_1 (1 − a_1): the factor (1 − a_1) is missing"),
        ("silu", "silu: σ(z)", "missing-activation-derivative",
         "σ(z_1) in place of σ(z_1) + z_1 σ'(z_1): the term z_1 σ'(z_1) is missing"),
        ("relu", "activation", "wrong-mask", "a_1 itself in place of φ_1'"),
        ("leaky_relu", "leak-the-other-way", "wrong-mask",
         "0.01 above zero and 1 below in place of 1 and 0.01"),
    ],
)  # fmt: skip
def test_a_forgotten_factor_is_not_a_wrong_mask(
    activation: str, variant: str, name: str, note: str
) -> None:
    """A part of φ' that is left out is said to be missing, and which; the rest is a wrong mask."""
    case = random_case(3, 2, activation, "mse")
    wrong = next(p for p in plants(case) if (p.name, p.variant, p.layer) == (name, variant, 1))
    (found,) = explain_gradients(network(case), "mse", case.x, case.target, wrong.gradients)
    assert (found.name, found.layer) == (name, 1)
    assert found.explanation.endswith(f": {note}")
