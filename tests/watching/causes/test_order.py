"""backward, step and zero_grad in every order."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.watching.loops import STEPS, accused, batches, causes, found, network


def loop(order: str, *, set_to_none: bool = True, optimizer: str = "Adam") -> None:
    """F forward, B backward, S step, Z zero_grad, in the order of the letters."""
    model = network()
    opt = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01)
    loss = torch.zeros(())
    for x, y in batches():
        for letter in order:
            if letter == "F":
                loss = F.cross_entropy(model(x), y)
            elif letter == "B":
                loss.backward()
            elif letter == "S":
                opt.step()
            else:
                opt.zero_grad(set_to_none=set_to_none)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("order", ["ZFBS", "FZBS", "FBSZ"])
def test_right_orders_are_quiet(order: str, *, set_to_none: bool) -> None:
    """Wherever the gradients are cleared after the step and before the backward pass."""
    assert causes(lambda: loop(order, set_to_none=set_to_none)) == []


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSprop", "Adagrad"])
def test_gradients_that_are_never_cleared(optimizer: str) -> None:
    """The line of the backward pass, and the numbers."""
    (finding,) = found(lambda: loop("FBS", optimizer=optimizer))
    assert finding.cause == "gradients-not-cleared"
    assert accused(finding) == "loss.backward()"
    assert finding.evidence == {"steps": STEPS, "with old gradients": STEPS - 1}
    assert "opt.zero_grad()" in finding.remedy


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_cleared_before_the_step(*, set_to_none: bool) -> None:
    """The line of zero_grad."""

    def train() -> None:
        model = network()
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in batches():
            F.cross_entropy(model(x), y).backward()
            opt.zero_grad(set_to_none=set_to_none)
            opt.step()

    (finding,) = found(train)
    assert finding.cause == "cleared-before-step"
    assert accused(finding) == "opt.zero_grad(set_to_none=set_to_none)"


def test_a_step_before_the_backward_pass() -> None:
    """The line of the step."""

    def train() -> None:
        model = network()
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in batches():
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            opt.step()
            loss.backward()

    (finding,) = found(train)
    assert finding.cause == "step-before-backward"
    assert accused(finding) == "opt.step()"


def test_no_step_and_no_backward_pass() -> None:
    """Each is named, and a look at a schedule without a forward pass is not."""
    assert causes(lambda: loop("ZFB")) == ["no-optimizer-step"]
    assert causes(lambda: loop("ZFS")) == ["no-backward"]
    assert causes(lambda: loop("ZS")) == []


def test_accumulation_on_purpose_is_quiet() -> None:
    """Four backward passes for a step, and a rest at the end."""

    def train() -> None:
        model = network()
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for k, (x, y) in enumerate(batches()):
            (F.cross_entropy(model(x), y) / 4).backward()
            if k % 4 == 3:
                opt.step()
                opt.zero_grad()
        opt.step()

    assert causes(train) == []


def test_two_optimizers_in_turns_are_quiet() -> None:
    """The generator's backward pass leaves gradients on the discriminator, which clears them."""

    def train() -> None:
        torch.manual_seed(0)
        g, d = nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        opt_g = torch.optim.Adam(g.parameters(), lr=1e-3)
        opt_d = torch.optim.Adam(d.parameters(), lr=1e-3)
        for x, _ in batches():
            opt_d.zero_grad()
            fake = g(torch.randn(len(x), 4))
            real = F.binary_cross_entropy_with_logits(d(x), torch.ones(len(x), 1))
            made_up = F.binary_cross_entropy_with_logits(d(fake.detach()), torch.zeros(len(x), 1))
            (real + made_up).backward()
            opt_d.step()
            opt_g.zero_grad()
            F.binary_cross_entropy_with_logits(d(fake), torch.ones(len(x), 1)).backward()
            opt_g.step()

    assert causes(train) == []


def test_closures_and_updates_by_hand_are_quiet() -> None:
    """L-BFGS computes its gradients inside its step; `p -= lr * p.grad` needs no optimizer."""

    def lbfgs() -> None:
        model, opt = network(), None
        opt = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)
        for x, y in batches(8, 240):

            def closure(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
                opt.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            opt.step(closure)

    def by_hand() -> None:
        model = network()
        for x, y in batches():
            F.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.1 * p.grad
                    p.grad = None

    assert causes(lbfgs) == []
    assert causes(by_hand) == []
