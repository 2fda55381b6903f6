"""MLP: layers in a row."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from tests.problems import ACTIVATION_NAMES, NETWORK_RTOL
from torchmlp import MLP, Dense, network_loss


@pytest.mark.parametrize("batch", [(), (5,), (0,), (2, 3)], ids=str)
@pytest.mark.parametrize(
    ("hidden", "widths"), [([8, 6], [8, 6]), (8, [8]), ((), []), ([], []), ((7,), [7])], ids=str
)
def test_shapes(hidden: Any, widths: list[int], batch: tuple[int, ...]) -> None:
    """Hidden widths as a list, a tuple, a number or nothing; any number of batch axes."""
    mlp = MLP(4, hidden, 3)
    assert (mlp.in_features, mlp.hidden, mlp.out_features) == (4, widths, 3)
    assert [tuple(weight.shape) for weight in mlp.weights] == [
        (o, i) for i, o in zip([4, *widths], [*widths, 3], strict=True)
    ]
    assert mlp(torch.randn(*batch, 4)).shape == (*batch, 3)


def test_activations_go_where_they_belong() -> None:
    """`activation` is the hidden layers', `output_activation` the last one's."""
    mlp = MLP(4, [5, 6], 3, activation="silu", output_activation="sigmoid")
    assert mlp.activations == ["silu", "silu", "sigmoid"]
    assert all(type(layer) is Dense for layer in mlp.layers)
    assert MLP(4, (), 3, activation="silu").activations == ["identity"]


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_is_its_layers(activation: str) -> None:
    """The output is that of the layers, one after the other."""
    mlp, x = MLP(4, [5, 6], 3, activation), torch.randn(7, 4)
    expected = x
    for layer in mlp.layers:
        expected = layer(expected)
    assert torch.equal(mlp(x), expected)


@pytest.mark.parametrize(
    ("init", "activation", "stds"),
    [
        ("auto", "relu", [(2 / 200) ** 0.5, (2 / 300) ** 0.5, (2 / 350) ** 0.5]),
        ("auto", "selu", [(1 / 200) ** 0.5, (1 / 300) ** 0.5, (2 / 350) ** 0.5]),
        ("auto", "tanh", [(2 / 500) ** 0.5, (2 / 550) ** 0.5, (2 / 350) ** 0.5]),
        ("he", "tanh", [(2 / 200) ** 0.5, (2 / 300) ** 0.5, (2 / 250) ** 0.5]),
        ("xavier", "relu", [(2 / 500) ** 0.5, (2 / 550) ** 0.5, (2 / 350) ** 0.5]),
        ("lecun", "relu", [(1 / 200) ** 0.5, (1 / 300) ** 0.5, (1 / 250) ** 0.5]),
        ("normal(0.7)", "relu", [0.7] * 3),
        ("uniform(0, 1)", "relu", [12**-0.5] * 3),
        ("constant(0.2)", "relu", [0.0] * 3),
    ],
)
def test_init_reaches_every_layer(init: str, activation: str, stds: list[float]) -> None:
    """Each layer's weights have the named spread, each bias is zero; `auto` goes by the layer."""
    mlp = MLP(200, [300, 250], 100, activation, init=init)
    for weight, bias, std in zip(mlp.weights, mlp.biases, stds, strict=True):
        assert weight.std().item() == pytest.approx(
            std, rel=5 / (2 * weight.numel()) ** 0.5, abs=1e-6
        )
        assert bias is not None
        assert (bias == 0).all()


def test_reset_parameters() -> None:
    """Drawing again from the same seed gives the same weights; from another, others."""
    torch.manual_seed(1)
    mlp = MLP(4, 5, 3)
    mlp.reset_parameters()
    drawn = [weight.clone() for weight in mlp.weights]
    mlp.reset_parameters()
    assert not torch.equal(mlp.weights[0], drawn[0])
    torch.manual_seed(1)
    again = MLP(4, 5, 3)
    again.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(again.weights, drawn, strict=True))
    assert all(parameter.requires_grad for parameter in mlp.parameters())


def test_without_bias() -> None:
    """`bias=False` reaches every layer."""
    mlp = MLP(4, [5, 6], 3, bias=False)
    assert mlp.biases == [None] * 3
    assert len(list(mlp.parameters())) == 3


def test_device_and_dtype() -> None:
    """Parameters are made where, and in what, they are asked for."""
    mlp = MLP(4, [5], 3, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in mlp.parameters()} == {("meta", torch.float64)}
    assert mlp.double()(torch.empty(2, 4, device="meta", dtype=torch.float64)).shape == (2, 3)


def test_fits_network_loss() -> None:
    """Its weights, biases and activations are what `network_loss` takes, with the same answers."""
    mlp = MLP(4, [5, 6], 3, "gelu", dtype=torch.float64)
    x, target = torch.randn(7, 4, dtype=torch.float64), torch.randint(3, (7,))
    loss = network_loss(x, target, mlp.weights, mlp.biases, mlp.activations)
    expected = F.cross_entropy(mlp(x), target)
    torch.testing.assert_close(loss, expected, rtol=NETWORK_RTOL, atol=0)
    parameters = list(mlp.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(loss, parameters),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


def test_dropout_is_for_training_only() -> None:
    """In evaluation nothing is dropped; in training two passes differ."""
    mlp, x = MLP(4, [50], 3, dropout=0.5, input_dropout=0.2), torch.randn(7, 4)
    assert not torch.equal(mlp(x), mlp(x))
    mlp.eval()
    assert torch.equal(mlp(x), mlp(x))


def test_dropout_goes_where_it_belongs() -> None:
    """`input_dropout` drops inputs, `dropout` hidden units, and nothing drops outputs."""
    eye = MLP(100, [100], 100, "identity", init="constant(0)", dropout=0.5)
    with torch.no_grad():
        for weight in eye.weights:
            weight.copy_(torch.eye(100))
    x = torch.ones(100)
    assert set(eye(x).unique().tolist()) == {0.0, 2.0}
    eye.dropout = 0.0
    assert torch.equal(eye(x), x)
    eye.input_dropout = 0.75
    assert set(eye(x).unique().tolist()) == {0.0, 4.0}
    single = MLP(3, (), 3, dropout=0.9)
    assert torch.equal(single(torch.ones(3)), single.eval()(torch.ones(3)))


@pytest.mark.parametrize("input_dropout", [0.0, 0.2])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_trains_like_sequential(dropout: float, input_dropout: float) -> None:
    """From one seed, forty steps with dropout leave the weights of nn.Sequential's training."""
    mlp = MLP(
        6, [12, 8], 3, "tanh", dropout=dropout, input_dropout=input_dropout, dtype=torch.float64
    )
    plain = mlp.to_sequential()
    x, target = torch.randn(20, 6, dtype=torch.float64), torch.randint(3, (20,))
    weights = []
    for network in (mlp, plain):
        torch.manual_seed(11)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        for _ in range(40):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(network(x), target))
            optimizer.step()
        weights.append([parameter.detach() for parameter in network.parameters()])
    for ours, theirs in zip(*weights, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_overfits_one_batch() -> None:
    """Adam drives the loss of one batch to nearly zero."""
    mlp = MLP(4, 32, 3)
    x, target = torch.randn(8, 4), torch.randint(3, (8,))
    optimizer = torch.optim.Adam(mlp.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.cross_entropy(mlp(x), target)
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss.item() < 0.01


def test_copies_pickles_and_state_dicts() -> None:
    """deepcopy, pickle and state_dict keep weights and settings."""
    mlp = MLP(4, [5, 6], 3, "gelu", "sigmoid", "he", dropout=0.3, input_dropout=0.1).eval()
    x = torch.randn(2, 4)
    for other in (copy.deepcopy(mlp), pickle.loads(pickle.dumps(mlp))):
        assert torch.equal(other(x), mlp(x))
        assert other.activations == mlp.activations
        assert (other.init, other.dropout, other.input_dropout) == ("he", 0.3, 0.1)
        assert not other.training
        assert other.weights[0] is not mlp.weights[0]
    fresh = MLP(4, [5, 6], 3, "gelu", "sigmoid")
    fresh.load_state_dict(mlp.state_dict())
    assert torch.equal(fresh(x), mlp(x))
    assert list(mlp.state_dict()) == [
        f"layers.{k}.{name}" for k in range(3) for name in ("weight", "bias")
    ]


def test_under_autocast() -> None:
    """Under autocast the output has nn.Sequential's dtype, the gradients are float32."""
    mlp, x = MLP(4, [5], 3), torch.randn(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = mlp(x)
        assert output.dtype == mlp.to_sequential()(x).dtype == torch.bfloat16
    torch.autograd.backward(output.float().sum())
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in mlp.parameters())


MISTAKES: list[tuple[dict[str, Any], str]] = [
    (
        {"in_features": 0},
        r"MLP: expected widths of at least 1, got in_features=0, hidden=\[5\], out_features=3",
    ),
    (
        {"hidden": [5, -1]},
        r"expected widths of at least 1, got in_features=4, hidden=\[5, -1\], out_features=3",
    ),
    ({"hidden": 0}, r"expected widths of at least 1, got in_features=4, hidden=0"),
    ({"out_features": 0}, r"expected widths of at least 1, .* out_features=0"),
    ({"activation": "relo"}, r"unknown activation 'relo'; did you mean 'relu'\?"),
    (
        {"output_activation": "softmax"},
        r"unknown activation 'softmax': the loss cross_entropy holds it",
    ),
    ({"init": "hee"}, r"unknown init 'hee'; did you mean 'he'\?"),
    ({"init": "normal"}, r"init 'normal': expected normal\(std\)"),
    ({"dropout": 1.0}, r"^dropout: expected a rate in 0 <= rate < 1, got 1\.0"),
    ({"input_dropout": -0.5}, r"^input_dropout: expected a rate in 0 <= rate < 1, got -0\.5"),
]


@pytest.mark.parametrize(("instead", "text"), MISTAKES, ids=[str(case[0]) for case in MISTAKES])
def test_mistakes_are_explained(instead: dict[str, Any], text: str) -> None:
    """What cannot be built is refused with what was asked for."""
    right: dict[str, Any] = {"in_features": 4, "hidden": [5], "out_features": 3}
    with pytest.raises(ValueError, match=text):
        MLP(**(right | instead))


def test_images_are_to_be_flattened() -> None:
    """An image batch that was not flattened is told so."""
    with pytest.raises(ValueError, match=r"got input of shape \(8, 1, 2, 2\); flatten the images"):
        MLP(4, 5, 3)(torch.zeros(8, 1, 2, 2))


def test_is_a_module_of_modules() -> None:
    """Its parameters are its layers', for optimizers and hooks to find."""
    mlp = MLP(4, [5], 3)
    assert sum(isinstance(module, nn.Linear) for module in mlp.modules()) == 2
    assert len(list(mlp.parameters())) == 4
