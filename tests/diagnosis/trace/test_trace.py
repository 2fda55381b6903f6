"""A pass is seen function by function, however it is written, and changed where one says."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tests.diagnosis.runs import Bent, Tanh, by_hand, net
from torchmlp import MLP
from torchmlp.diagnosis.trace.layers import TracedLayer, find_layers
from torchmlp.diagnosis.trace.trace import Trace

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def traced(model: nn.Module, x: Tensor = X, **options: Any) -> tuple[Trace, Tensor]:
    """The trace of a pass, and what it returned."""
    trace = Trace(model, **options)
    with trace:
        output: Tensor = model(x)
    return trace, output


def layers(model: nn.Module, x: Tensor = X) -> list[TracedLayer]:
    return find_layers(traced(model, x)[0].calls)


SPELLINGS: dict[str, Callable[[], nn.Module]] = {
    "module": nn.ReLU,
    "module in place": partial(nn.ReLU, inplace=True),
    "functional": lambda: Bent(F.relu),
    "functional in place": lambda: Bent(partial(F.relu, inplace=True)),
    "functional, flag by position": lambda: Bent(lambda z: F.relu(z, True)),
    "functional with underscore": lambda: Bent(F.relu_),
    "torch": lambda: Bent(torch.relu),
    "torch in place": lambda: Bent(torch.relu_),
    "method": lambda: Bent(Tensor.relu),
    "method in place": lambda: Bent(Tensor.relu_),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_activation_is_seen_however_it_is_spelt(spelling: str) -> None:
    """Module, function, method, in place: its name, its z before and its a after."""
    first, last = nn.Linear(3, 4), nn.Linear(4, 2)
    found = layers(nn.Sequential(first, SPELLINGS[spelling](), last))
    assert [place.name for place in found] == ["relu", "identity"]
    assert torch.equal(found[0].z, first(X))
    assert torch.equal(found[0].a, first(X).relu())
    assert float(found[0].z.detach().min()) < 0 == float(found[0].a.detach().min())


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_watching_changes_nothing(spelling: str) -> None:
    """Output and gradients are those of an unwatched pass, in-place functions included."""
    model = nn.Sequential(nn.Linear(3, 4), SPELLINGS[spelling](), nn.Linear(4, 2))
    plain = model(X)
    expected = torch.autograd.grad(plain.square().sum(), [*model.parameters()])
    _, output = traced(model)
    gradients = torch.autograd.grad(output.square().sum(), [*model.parameters()])
    assert torch.equal(output, plain)
    assert all(map(torch.equal, gradients, expected))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.Sigmoid(), "sigmoid"),
        (nn.Tanh(), "tanh"),
        (nn.GELU(), "gelu"),
        (nn.SELU(), "selu"),
        (nn.SiLU(), "silu"),
        (nn.Hardtanh(), "hardtanh"),
        (nn.LeakyReLU(), "leaky_relu"),
        (nn.LogSigmoid(), "logsigmoid"),
        (Bent(lambda z: z.clamp(min=0)), "own"),
        (Bent(lambda z: 1 / (1 + (-z).exp())), "own"),
        (nn.Identity(), "identity"),
    ],
    ids=str,
)
def test_activations_have_torchs_names(module: nn.Module, name: str) -> None:
    """One that is written out is "own"; nothing is "identity"."""
    first, *_ = layers(nn.Sequential(nn.Linear(3, 4), module, nn.Linear(4, 2)))
    assert first.name == name
    assert first.is_nonlinear == (name != "identity")


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "gelu", "identity"])
def test_this_packages_layers_are_seen_from_inside(activation: str) -> None:
    """An MLP's layer is one node of the graph, and is seen as z and a."""
    model = MLP(3, [4, 5], 2, activation=activation)
    found = layers(model)
    assert [place.name for place in found] == [activation, activation, "identity"]
    assert [place.call.weight for place in found] == [f"layers.{k}.weight" for k in range(3)]
    z = F.linear(X, model.weights[0], model.biases[0])
    torch.testing.assert_close(found[0].z, z)
    torch.testing.assert_close(traced(model)[1], model(X))


def test_an_mlps_gradients_are_the_same_watched() -> None:
    """Seen in two halves, the layer has the same gradient."""
    model = MLP(3, [4, 5], 2, activation="tanh")
    gradients = [
        torch.autograd.grad(output.square().mean(), [*model.parameters()])
        for output in (model(X), traced(model)[1])
    ]
    for plain, watched in zip(*gradients, strict=True):
        torch.testing.assert_close(watched, plain)


def test_a_function_of_ones_own_is_passed_by() -> None:
    """An autograd Function is no call of torch's; its layer's neighbours are seen."""
    found = layers(net(3, 4, 2, phi=by_hand(Tanh)))
    assert [place.call.weight for place in found] == ["0.weight", "2.weight"]


class Written(nn.Module):
    """Layers without modules: x W, its bias added by hand, and F.linear."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(3, 4))
        self.shift = nn.Parameter(torch.randn(4))
        self.b = nn.Parameter(torch.randn(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(x @ self.a + self.shift), self.b)


def test_layers_are_found_by_their_weights() -> None:
    """Matrix products with a parameter are layers; a bias that is added belongs to z."""
    model = Written()
    found = layers(model)
    assert [(p.call.name, p.call.weight) for p in found] == [("matmul", "a"), ("linear", "b")]
    assert torch.equal(found[0].z, X @ model.a + model.shift)
    assert torch.equal(found[0].last_linear.output, X @ model.a + model.shift)
    assert found[0].name == "tanh"


def test_a_product_without_a_weight_is_no_layer() -> None:
    """Attention multiplies activations with each other."""
    model = nn.Sequential(nn.Linear(3, 4), Bent(lambda z: z @ z.T @ z), nn.Linear(4, 2))
    assert [place.call.weight for place in layers(model)] == ["0.weight", "2.weight"]


@pytest.mark.parametrize(
    ("module", "shape", "name"),
    [
        (nn.Conv1d(2, 3, 2), (4, 2, 5), "conv1d"),
        (nn.Conv2d(2, 3, 2), (4, 2, 5, 5), "conv2d"),
        (nn.ConvTranspose2d(2, 3, 2), (4, 2, 5, 5), "conv_transpose2d"),
        (nn.Linear(2, 3), (4, 5, 2), "linear"),
    ],
    ids=str,
)
def test_convolutions_are_layers(module: nn.Module, shape: tuple[int, ...], name: str) -> None:
    """With their weight, and the bias in z."""
    (found,) = layers(module, torch.randn(shape))
    assert (found.call.name, found.call.weight) == (name, "weight")


def test_a_normalisation_stands_before_the_activation() -> None:
    """z is what the activation reads: after the normalisation, where there is one."""
    norm = nn.LayerNorm(4)
    found = layers(nn.Sequential(nn.Linear(3, 4), norm, nn.ReLU(), nn.Linear(4, 2)))
    assert torch.equal(found[0].z, norm(found[0].call.output))


def test_an_edit_replaces_the_call_it_names_and_no_other() -> None:
    """Two equal activations, one of them replaced; all before and between is the same."""
    model = net(3, 4, 4, 2, phi=nn.Tanh)
    plain, _ = traced(model)
    second = find_layers(plain.calls)[1].activation
    assert second is not None
    asked: list[tuple[Any, Tensor]] = []

    def edit(func: Any, z: Tensor) -> Tensor:
        asked.append((func, z))
        return torch.relu(z)

    changed, output = traced(model, edits={second.index: edit})
    assert len(asked) == 1
    assert torch.equal(asked[0][1], second.args[0])
    assert torch.equal(asked[0][0](second.args[0]), second.output)
    for before, after in zip(plain.calls, changed.calls, strict=True):
        is_same = torch.equal(before.output, after.output)
        assert is_same == (before.index < second.index)
    assert torch.equal(output, model[4](torch.relu(model[2](torch.tanh(model[0](X))))))


@pytest.mark.parametrize("kind", ["Sequential", "MLP"])
def test_every_call_can_be_replaced_by_itself(kind: str) -> None:
    """An edit that calls what it replaces leaves every value as it was, kept or not."""
    model: nn.Module = net(3, 4, 2) if kind == "Sequential" else MLP(3, 4, 2)
    plain, expected = traced(model)
    edits = {c.index: lambda func, *args, **kwargs: func(*args, **kwargs) for c in plain.calls}
    for keep in (True, False):
        trace, output = traced(model, edits=edits, keep=keep)
        assert torch.equal(output, expected)
        assert len(trace.calls) == (len(plain.calls) if keep else 0)


def test_an_mlps_activation_can_be_replaced() -> None:
    """The half of its layer that bends is a call of its own."""
    model = MLP(3, 4, 2, activation="relu")
    activation = layers(model)[0].activation
    assert activation is not None
    _, output = traced(model, edits={activation.index: lambda _func, z: torch.tanh(z)})
    hidden = torch.tanh(F.linear(X, model.weights[0], model.biases[0]))
    torch.testing.assert_close(output, F.linear(hidden, model.weights[1], model.biases[1]))


def test_the_call_that_raised_is_known() -> None:
    """By its name; the error goes on."""
    trace = Trace(nn.Linear(3, 2))
    with pytest.raises(RuntimeError), trace:
        F.softplus(X) @ X
    assert trace.failed in ("matmul", "__matmul__")
    assert [call.name for call in trace.calls] == ["softplus"]


def test_a_loss_of_torchs_ends_the_network() -> None:
    """What the first one was given is the output; what follows belongs to the loss."""
    model = net(3, 4, 2)
    trace, target = Trace(model), torch.zeros(6, 2)
    with trace:
        output = model(X)
        F.mse_loss(output, target).sqrt()
    assert trace.entered is output
    assert [call.phase for call in trace.calls] == ["model"] * 3 + ["loss"] * 2


def test_a_gradient_hook_is_noticed() -> None:
    """Registered during the pass, and only then."""
    assert not traced(nn.Linear(3, 2))[0].has_hooks

    def hooked(z: Tensor) -> Tensor:
        z.register_hook(lambda gradient: 2 * gradient)  # type: ignore[no-untyped-call]
        return z

    assert traced(nn.Sequential(nn.Linear(3, 2), Bent(hooked)))[0].has_hooks


@pytest.mark.parametrize("dim", [1, -1])
def test_an_axis_counts_from_the_end(dim: int) -> None:
    """However it was given."""
    for function in (partial(torch.softmax, dim=dim), lambda z: z.softmax(dim)):
        trace, _ = traced(nn.Sequential(nn.Linear(3, 2), Bent(function)))
        assert trace.calls[-1].axis == -1
    assert traced(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))[0].calls[-1].axis is None
