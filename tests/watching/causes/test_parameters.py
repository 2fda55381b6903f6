"""Parameters that do not learn, and those that are not meant to."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.watching.loops import accused, batches, causes, found, network


def fit(model: nn.Module, opt: torch.optim.Optimizer, steps: int = 30) -> None:
    for x, y in batches(steps):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def test_the_optimizer_of_another_model() -> None:
    """The line in which it is made."""

    def train() -> None:
        model = network()
        opt = torch.optim.Adam(model.parameters(), lr=1e-3)
        model = network()
        fit(model, opt)

    (finding,) = found(train)
    assert finding.cause == "parameters-not-optimized"
    assert accused(finding) == "opt = torch.optim.Adam(model.parameters(), lr=1e-3)"


def test_a_layer_replaced_after_the_optimizer_was_made() -> None:
    """The line that replaces it; also long after the first hundred steps."""

    def train() -> None:
        model = network()
        fit(model, sgd(model), 120)
        opt = torch.optim.SGD(model.parameters(), lr=0.05)
        model[2] = nn.Linear(16, 3)
        fit(model, opt)

    (finding,) = found(train)
    assert finding.cause == "parameters-not-optimized"
    assert accused(finding) == "model[2] = nn.Linear(16, 3)"
    assert "2.weight, 2.bias" in finding.explanation


class Hidden(nn.Module):
    """A layer in a container that may be a plain one, between two others."""

    def __init__(self, container: Callable[[list[nn.Module]], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 3)
        self.between = container([nn.Linear(8, 8)])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        for layer in self.between:
            x = torch.relu(layer(x))
        return self.last(x)


@pytest.mark.parametrize("container", [list, tuple, nn.ModuleList])
def test_layers_in_a_plain_list(container: Any) -> None:
    """Named for a list and a tuple, quiet for nn.ModuleList."""

    def train() -> None:
        model = Hidden(container)
        fit(model, sgd(model))

    wanted = [] if container is nn.ModuleList else ["parameters-not-optimized"]
    assert causes(train) == wanted


def test_a_plain_tensor_in_a_module() -> None:
    """No parameter, whatever its requires_grad says."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()
            self.scale = torch.ones(3, requires_grad=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * self.scale

    def train() -> None:
        model = Scaled()
        fit(model, sgd(model))

    (finding,) = found(train)
    assert finding.cause == "parameters-not-optimized"
    assert accused(finding) == "self.scale = torch.ones(3, requires_grad=True)"


def test_a_frozen_backbone_is_quiet() -> None:
    """Trained before and frozen, or left out of the optimizer, or called under no_grad."""

    def frozen() -> None:
        model = network()
        fit(model, sgd(model))
        model[2] = nn.Linear(16, 3)
        model[0].requires_grad_(False)
        fit(model, sgd(model))

    def left_out() -> None:
        model = network()
        fit(model, torch.optim.SGD(model[2].parameters(), lr=0.1))

    def without_gradients() -> None:
        model = network()
        opt = sgd(model[2])
        for x, y in batches():
            with torch.no_grad():
                features = model[1](model[0](x))
            opt.zero_grad()
            F.cross_entropy(model[2](features), y).backward()
            opt.step()

    assert causes(frozen) == []
    assert causes(left_out) == []
    assert causes(without_gradients) == []


def test_all_weights_frozen() -> None:
    """The line that froze them; biases alone are left."""

    def train() -> None:
        model = network()
        for name, p in model.named_parameters():
            p.requires_grad_("bias" in name)
        fit(model, sgd(model))

    (finding,) = found(train)
    assert finding.cause == "frozen-parameters"
    assert accused(finding) == 'p.requires_grad_("bias" in name)'


CUTS: list[Callable[[Tensor], Tensor]] = [
    lambda h: h.detach(),
    lambda h: h.data,
    lambda h: torch.from_numpy(h.detach().numpy()),
    lambda h: torch.tensor(h.tolist()),
    lambda h: (h > 0).float(),
]


@pytest.mark.parametrize("cut", CUTS)
def test_a_graph_that_is_cut(cut: Callable[[Tensor], Tensor]) -> None:
    """The line that cuts it, whatever it is cut with."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner[2](cut(self.inner[0](x)))

    def train() -> None:
        model = Net()
        fit(model, sgd(model))

    (finding,) = found(train)
    assert finding.cause == "no-gradient"
    assert "h" in accused(finding)
    assert "inner.0" in finding.explanation


def test_a_loss_made_anew() -> None:
    """torch.tensor(loss, requires_grad=True) depends on nothing."""

    def train() -> None:
        model = network()
        opt = sgd(model)
        for x, y in batches():
            opt.zero_grad()
            loss = torch.tensor(F.cross_entropy(model(x), y).item(), requires_grad=True)
            loss.backward()
            opt.step()

    assert causes(train) == ["no-gradient"]


def test_a_rounded_output() -> None:
    """Its derivative is zero."""

    def train() -> None:
        model = nn.Linear(8, 1)
        opt = sgd(model)
        for x, _ in batches():
            opt.zero_grad()
            (torch.round(model(x)) - x[:, :1]).square().mean().backward()
            opt.step()

    (finding,) = found(train)
    assert finding.cause == "no-gradient"
    assert "torch.round" in accused(finding)


def test_heads_used_now_and_then_and_a_teacher_are_quiet() -> None:
    """A head that its turn has not called; a moving average that no optimizer has."""

    def heads() -> None:
        torch.manual_seed(0)
        body, one, two = nn.Linear(8, 8), nn.Linear(8, 3), nn.Linear(8, 3)
        opt = sgd(nn.ModuleList([body, one, two]))
        for k, (x, y) in enumerate(batches()):
            opt.zero_grad()
            F.cross_entropy((two if k % 5 == 4 else one)(body(x)), y).backward()
            opt.step()

    def teacher() -> None:
        model, average = network(), network()
        opt = sgd(model)
        for x, y in batches():
            opt.zero_grad()
            with torch.no_grad():
                wanted = average(x)
            (F.cross_entropy(model(x), y) + F.mse_loss(model(x), wanted)).backward()
            opt.step()
            for p, q in zip(average.parameters(), model.parameters(), strict=True):
                p.data.mul_(0.9).add_(q.data, alpha=0.1)

    assert causes(heads) == []
    assert causes(teacher) == []


def test_inputs_with_gradients_are_quiet() -> None:
    """Adversarial examples and penalties ask for the inputs' gradients."""

    def train() -> None:
        model = network()
        opt = sgd(model)
        for x, y in batches():
            x.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), y), x)
            opt.zero_grad()
            F.cross_entropy(model((x + 0.1 * gradient.sign()).detach()), y).backward()
            opt.step()

    assert causes(train) == []
