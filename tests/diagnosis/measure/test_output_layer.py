"""How a network ends is read from its calls, and a loss' own gradient is checked."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tests.diagnosis.runs import (
    Bent,
    clamped_log_of_sigmoid,
    log_of_sigmoid,
    naive_cross_entropy,
    naive_sigmoid,
    net,
    other_loss_shown,
)
from torchmlp.diagnosis.measure.output_layer import (
    loss_gradient_error,
    output_range,
    read_head,
)
from torchmlp.diagnosis.record.record import Design
from torchmlp.diagnosis.trace.layers import find_layers
from torchmlp.diagnosis.trace.trace import Trace

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1, 2])
Loss = Callable[[Tensor, Tensor], Tensor]


def pass_of(model: nn.Module, loss: Loss, target: Tensor = Y) -> Trace:
    trace = Trace(model)
    with trace:
        output = model(X)
        trace.output, trace.phase = output, "loss"
        loss(output, target)
    return trace


def head_of(model: nn.Module, loss: Loss = F.cross_entropy, target: Tensor = Y) -> Design:
    """The design that a pass shows."""
    trace, design = pass_of(model, loss, target), Design()
    read_head(design, trace.calls, find_layers(trace.calls), trace.failed)
    return design


def ending(end: Callable[[], nn.Module]) -> nn.Module:
    return net(3, 4, 3, end=end)


ENDS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "nothing": (nn.Identity, "identity"),
    "module": (partial(nn.Softmax, dim=-1), "softmax"),
    "function": (lambda: Bent(partial(torch.softmax, dim=1)), "softmax"),
    "log_softmax": (partial(nn.LogSoftmax, dim=1), "log_softmax"),
    "log of softmax": (lambda: Bent(lambda z: z.softmax(1).log()), "log_softmax"),
    "log of sigmoid": (lambda: Bent(lambda z: z.sigmoid().log()), "logsigmoid"),
    "written out": (lambda: Bent(lambda z: z.exp() / z.exp().sum(1, keepdim=True)), "softmax"),
    "sigmoid": (nn.Sigmoid, "sigmoid"),
    "ReLU": (nn.ReLU, "relu"),
    "tanh": (lambda: Bent(Tensor.tanh), "tanh"),
    "sigmoid written out": (lambda: Bent(naive_sigmoid), "own"),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_output_function_is_read_off(name: str) -> None:
    """Whether a module, a function, or written out."""
    end, expected = ENDS[name]
    assert head_of(ending(end)).output == expected


@pytest.mark.parametrize(
    "loss", [F.cross_entropy, nn.CrossEntropyLoss()], ids=["function", "module"]
)
def test_torchs_losses_have_their_names(loss: Loss) -> None:
    """Modules and functions alike; a loss written out is the user's own."""
    design = head_of(net(3, 4, 3), loss)
    assert (design.loss, design.output) == ("cross_entropy", "identity")
    assert head_of(net(3, 4, 3), lambda z, y: (z.argmax(1) - y).float().mean()).loss == "own"


def test_a_loss_that_was_named_keeps_its_name() -> None:
    """What the user said counts."""
    trace, design = pass_of(net(3, 4, 3), F.cross_entropy), Design(loss="mse_loss")
    read_head(design, trace.calls, find_layers(trace.calls), trace.failed)
    assert design.loss == "mse_loss"


def test_a_loss_that_raised_is_known() -> None:
    """From the call that failed."""
    model = net(3, 4, 3)
    trace, design = Trace(model), Design()
    with trace:
        trace.output, trace.phase = model(X), "loss"
        with pytest.raises(IndexError):
            F.cross_entropy(trace.output, Y + 9)
    read_head(design, trace.calls, find_layers(trace.calls), trace.failed)
    assert design.loss == "cross_entropy"


@pytest.mark.parametrize(("dim", "axis"), [(0, -2), (1, -1), (-1, -1), (-2, -2)])
def test_the_axis_of_a_softmax_is_told(dim: int, axis: int) -> None:
    """From the end, whichever way it was given; written out too."""
    assert head_of(ending(partial(nn.Softmax, dim=dim))).output_axis == axis
    written = Bent(lambda z: z.exp() / z.exp().sum(dim, keepdim=True))
    assert head_of(ending(lambda: written)).output_axis == axis
    assert head_of(net(3, 4, 3)).output_axis == 0


def shifted(z: Tensor) -> Tensor:
    """A softmax that subtracts the maximum."""
    e = (z - z.max(1, keepdim=True).values).exp()
    return e / e.sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("end", "is_naive"),
    [
        (lambda z: z.exp() / z.exp().sum(1, keepdim=True), True),
        (lambda z: z.exp() / torch.sum(z.exp(), dim=1, keepdim=True), True),
        (shifted, False),
        (lambda z: z.softmax(1), False),
        (torch.sigmoid, False),
        (naive_sigmoid, False),
    ],
)
def test_a_softmax_without_its_maximum_is_seen(
    end: Callable[[Tensor], Tensor], is_naive: bool
) -> None:
    """In the network; one that subtracts it is none."""
    assert head_of(ending(lambda: Bent(end))).naive_softmax == is_naive


def test_a_naive_softmax_in_the_loss_is_seen() -> None:
    """Torch's own loss has none."""
    assert head_of(net(3, 4, 3), naive_cross_entropy).naive_softmax
    assert not head_of(net(3, 4, 3), F.cross_entropy).naive_softmax


@pytest.mark.parametrize(
    ("loss", "log_of", "is_guarded"),
    [
        (log_of_sigmoid, "sigmoid", False),
        (clamped_log_of_sigmoid, "sigmoid", True),
        (lambda p, y: -(y * (p + 1e-6).log()).mean(), "sigmoid", True),
        (lambda p, y: -(y * p.softmax(1).log()).mean(), "softmax", False),
        (lambda p, y: (p - y).square().mean(), None, False),
    ],
)
def test_a_bare_logarithm_is_seen(loss: Loss, log_of: str | None, is_guarded: bool) -> None:
    """What it is taken of, and whether something keeps that from 0."""
    target = F.one_hot(Y).float()
    design = head_of(net(3, 4, 3, end=nn.Sigmoid), loss, target)
    assert (design.log_of, design.is_guarded) == (log_of, is_guarded)


@pytest.mark.parametrize(
    ("loss", "broadcasts"),
    [
        (lambda p, y: (p - y).square().mean(), True),
        (lambda p, y: (p[:, 0] - y).square().mean(), False),
        (lambda p, y: (p - y[:, None]).square().mean(), False),
    ],
)
def test_every_output_against_every_target_is_seen(loss: Loss, broadcasts: bool) -> None:
    """A column less a row is a table."""
    assert head_of(net(3, 4, 1), loss, Y.float()).broadcasts == broadcasts


def test_the_layer_of_a_hand_written_exponential_is_known() -> None:
    """From 1; none where torch's own function stands."""
    model = net(3, 4, 4, 3, phi=lambda: Bent(naive_sigmoid))
    assert head_of(model).exp_layer == 1
    assert head_of(net(3, 4, 4, 3, phi=nn.Sigmoid)).exp_layer is None


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "tanh", "relu", "relu6", "log_softmax"])
def test_no_output_leaves_its_range(name: str) -> None:
    """The range is that of the function's values."""
    z = torch.linspace(-50, 50, 101).reshape(1, -1)
    functions = {"softmax": lambda z: z.softmax(1), "log_softmax": lambda z: z.log_softmax(1)}
    a = functions.get(name, getattr(F, name))(z)
    low, high = output_range(name)
    assert low <= float(a.min())
    assert float(a.max()) <= high
    assert output_range("identity") == (float("-inf"), float("inf"))


OUTPUT, TARGET = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)), Y


@pytest.mark.parametrize(
    "loss",
    [
        other_loss_shown,
        lambda z, y: F.cross_entropy(z.detach(), y) + 0.0 * z.sum(),
        lambda z, y: 2 * F.cross_entropy(z, y).detach() - F.cross_entropy(z, y),
        lambda z, y: F.cross_entropy(z, y) + 1e-3 * z.detach().square().sum(),
    ],
    ids=["another", "detached", "ascending", "a term left out"],
)
def test_a_loss_that_descends_something_else_has_an_error(loss: Loss) -> None:
    """Relative, and so above a thousandth for each of these."""
    error = loss_gradient_error(loss, OUTPUT, TARGET)
    assert error is not None
    assert error > 1e-3


def test_a_random_loss_is_not_judged() -> None:
    """Its differences say nothing."""
    assert loss_gradient_error(lambda z, _y: (z * torch.rand_like(z)).sum(), OUTPUT, TARGET) is None


def test_a_loss_that_wants_float32_is_not_judged() -> None:
    """Nor is one that cannot be computed in float64."""
    weight = torch.randn(3, 1)
    assert loss_gradient_error(lambda z, _y: (z @ weight).sum(), OUTPUT, TARGET) is None
