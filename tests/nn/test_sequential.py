"""To plain torch modules, and back."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.oracles import MODULES
from tests.problems import ACTIVATION_NAMES
from torchmlp import MLP


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_there_and_back(activation: str, bias: bool) -> None:
    """Weights travel bit for bit both ways, and all three networks answer alike."""
    mlp = MLP(4, [5, 6], 3, activation, "tanh", bias=bias, dropout=0.25, input_dropout=0.1).eval()
    plain = mlp.to_sequential()
    back = MLP.from_sequential(plain)
    assert back.activations == mlp.activations
    assert (back.dropout, back.input_dropout) == (0.25, 0.1)
    for one, two, three in zip(
        mlp.parameters(), plain.parameters(), back.parameters(), strict=True
    ):
        assert torch.equal(one, two)
        assert torch.equal(two, three)
        assert len({one.data_ptr(), two.data_ptr(), three.data_ptr()}) == 3
    x = torch.randn(7, 4)
    assert torch.equal(back(x), mlp(x))
    torch.testing.assert_close(plain(x), mlp(x), rtol=1e-6, atol=1e-6)


def test_is_plain_torch() -> None:
    """nn.Linear and activations alternate; an identity leaves no module."""
    mlp = MLP(4, [5, 6], 3, "relu", dropout=0.25, input_dropout=0.1)
    kinds = [type(module) for module in mlp.to_sequential()]
    hidden = [nn.Linear, nn.ReLU, nn.Dropout]
    assert kinds == [nn.Dropout, *hidden, *hidden, nn.Linear]
    assert [type(module) for module in MLP(4, (), 3).to_sequential()] == [nn.Linear]
    assert [type(module) for module in MLP(4, 5, 3, "identity").to_sequential()] == [nn.Linear] * 2


@pytest.mark.parametrize(
    ("dropout", "input_dropout"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.3), (0.5, 0.3)]
)
@pytest.mark.parametrize("hidden", [[], [5], [5, 6]], ids=str)
def test_dropout_there_and_back(hidden: list[int], dropout: float, input_dropout: float) -> None:
    """Dropout rates survive where there is something to drop."""
    mlp = MLP(4, hidden, 3, dropout=dropout, input_dropout=input_dropout)
    back = MLP.from_sequential(mlp.to_sequential())
    assert back.dropout == (dropout if hidden else 0.0)
    assert back.input_dropout == input_dropout


@pytest.mark.parametrize("training", [True, False])
def test_mode_dtype_and_device(training: bool) -> None:
    """Training mode, dtype and device travel along."""
    mlp = MLP(4, [5], 3, dropout=0.5, dtype=torch.float64, device="meta").train(training)
    plain = mlp.to_sequential()
    back = MLP.from_sequential(plain)
    for network in (plain, back):
        assert all(module.training == training for module in network.modules())
        assert {(p.dtype, p.device.type) for p in network.parameters()} == {(torch.float64, "meta")}


def test_generator_is_left_alone() -> None:
    """Neither direction draws a random number."""
    mlp = MLP(4, [5], 3, dropout=0.5)
    state = torch.get_rng_state()
    MLP.from_sequential(mlp.to_sequential())
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_are_copies() -> None:
    """Training the copy leaves the original alone."""
    mlp = MLP(4, [5], 3)
    before = [parameter.detach().clone() for parameter in mlp.parameters()]
    plain = mlp.to_sequential()
    with torch.no_grad():
        for parameter in (*plain.parameters(), *MLP.from_sequential(plain).parameters()):
            parameter.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(mlp.parameters(), before, strict=True))


def test_special_values_survive() -> None:
    """nan, infinities, negative zero and subnormals are copied as they are."""
    mlp = MLP(3, (), 2)
    values = torch.tensor([[math.nan, math.inf, -0.0], [-math.inf, 1e-45, 1e-40]])
    with torch.no_grad():
        mlp.weights[0].copy_(values)
    back = MLP.from_sequential(mlp.to_sequential())
    assert torch.equal(back.weights[0].view(torch.int32), values.view(torch.int32))


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_reads_what_somebody_else_wrote(activation: str) -> None:
    """A plain network of one's own is read: every activation, an nn.Identity among them."""
    plain = nn.Sequential(nn.Linear(4, 5), MODULES[activation](), nn.Linear(5, 3))
    mlp, x = MLP.from_sequential(plain), torch.randn(6, 4)
    assert mlp.activations == [activation, "identity"]
    assert mlp.init == "auto"
    torch.testing.assert_close(mlp(x), plain(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.ReLU(inplace=True), "relu"),
        (nn.LeakyReLU(inplace=True), "leaky_relu"),
        (nn.ELU(1), "elu"),
        (nn.Hardtanh(-1, 1), "hardtanh"),
        (nn.Hardtanh(inplace=True), "hardtanh"),
        (nn.Softplus(1, 20), "softplus"),
        (nn.SiLU(inplace=True), "silu"),
    ],
    ids=str,
)
def test_spellings_of_the_same_function(module: nn.Module, name: str) -> None:
    """In-place and integer settings are the same function."""
    mlp = MLP.from_sequential(nn.Sequential(nn.Linear(4, 5), module, nn.Linear(5, 3)))
    assert mlp.activations[0] == name


@pytest.mark.parametrize(
    "module",
    [nn.LeakyReLU(0.2), nn.ELU(0.5), nn.Hardtanh(-2, 2), nn.Softplus(2), nn.Softplus(1, 5)],
    ids=str,
)
def test_other_settings_are_other_functions(module: nn.Module) -> None:
    """An activation with settings of its own is refused, and not taken for ours."""
    with pytest.raises(ValueError, match=r"module 1, .*: expected nn\.Linear, nn\.Dropout or one"):
        MLP.from_sequential(nn.Sequential(nn.Linear(4, 5), module, nn.Linear(5, 3)))


REFUSED: list[tuple[str, Callable[[], nn.Sequential], str]] = [
    ("nothing", nn.Sequential, "expected at least one nn.Linear, got none"),
    (
        "no layer before",
        lambda: nn.Sequential(nn.ReLU(), nn.Linear(4, 3)),
        r"module 0, ReLU\(\): expected an nn\.Linear or nn\.Dropout here",
    ),
    (
        "two activations",
        lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Tanh()),
        r"module 2, Tanh\(\): expected an nn\.Linear or nn\.Dropout here",
    ),
    (
        "activation after dropout",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.ReLU(), nn.Linear(5, 3)),
        r"module 2, ReLU\(\): expected an nn\.Linear or nn\.Dropout here",
    ),
    (
        "foreign module",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)),
        r"module 1, BatchNorm1d\(5, .*: expected nn\.Linear, nn\.Dropout or one of ReLU\(\)",
    ),
    (
        "nested",
        lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 5)), nn.Linear(5, 3)),
        r"module 0, Sequential",
    ),
    (
        "widths",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(6, 3)),
        r"module 2, Linear\(in_features=6, .*\): expected in_features=5, the width of the layer",
    ),
    (
        "two rates",
        lambda: nn.Sequential(
            nn.Linear(4, 5), nn.Dropout(0.1), nn.Linear(5, 5), nn.Dropout(0.2), nn.Linear(5, 3)
        ),
        (
            r"one nn\.Dropout rate after every hidden layer and none after the last, got "
            r"\{1: 0\.1, 2: 0\.2\}"
        ),
    ),
    (
        "a layer without dropout",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.1), nn.Linear(5, 5), nn.Linear(5, 3)),
        r"one nn\.Dropout rate after every hidden layer",
    ),
    (
        "dropout after the last layer",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3), nn.Dropout(0.1)),
        r"none after the last",
    ),
    (
        "dropout twice",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.Dropout(), nn.Linear(5, 3)),
        r"module 2, Dropout.*: expected one nn\.Dropout at a place, not two",
    ),
    (
        "dropout of everything",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(1.0), nn.Linear(5, 3)),
        r"module 1, Dropout.*: expected a rate in 0 <= rate < 1, got 1\.0",
    ),
]


@pytest.mark.parametrize(
    ("make", "text"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_an_mlp_has_no_place_for(make: Callable[[], nn.Sequential], text: str) -> None:
    """A network that is no MLP of ours is refused, with the module's position."""
    with pytest.raises(ValueError, match=text):
        MLP.from_sequential(make())


def test_frozen_layers_stay_frozen() -> None:
    """Both ways carry requires_grad over."""
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    network[0].requires_grad_(requires_grad=False)
    mlp = MLP.from_sequential(network)
    assert [p.requires_grad for p in mlp.parameters()] == [False, False, True, True]
    back = mlp.to_sequential()
    assert [p.requires_grad for p in back.parameters()] == [False, False, True, True]
