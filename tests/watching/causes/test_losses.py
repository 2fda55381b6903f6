"""Shapes, axes and signs of a loss, and graphs that are kept."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.watching.loops import accused, batches, causes, found, network


def regression(loss: Callable[[Tensor, Tensor], Tensor], lr: float = 0.05) -> None:
    """(N, 1) outputs against (N,) targets."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for x, _ in batches():
        opt.zero_grad()
        loss(model(x), x[:, 0]).backward()
        opt.step()


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_shapes_broadcast_in_a_loss(name: str) -> None:
    """Both shapes and what became of them."""
    (finding,) = found(lambda: regression(getattr(F, name)))
    assert finding.cause == "shape-broadcast"
    assert finding.evidence == {"outputs": 16, "targets": 16, "compared": 256}
    assert accused(finding) == "loss(model(x), x[:, 0]).backward()"


def test_shapes_broadcast_by_hand() -> None:
    """In a difference, whichever comes first, and where the targets are computed."""
    assert causes(lambda: regression(lambda o, t: ((o - t) ** 2).mean())) == ["shape-broadcast"]
    assert causes(lambda: regression(lambda o, t: (t - o).abs().mean())) == ["shape-broadcast"]

    def targets(output: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = target * output.detach()
        return (wanted - output).square().mean()

    assert causes(lambda: regression(targets)) == ["shape-broadcast"]


def test_shapes_that_agree_and_quantiles_are_quiet() -> None:
    """(N, 1) against three quantiles is meant."""
    assert causes(lambda: regression(lambda o, t: F.mse_loss(o.squeeze(1), t))) == []

    def pinball(output: Tensor, target: Tensor) -> Tensor:
        q = torch.tensor([0.1, 0.5, 0.9])
        error = target[:, None] - output * torch.ones(3)
        return torch.maximum(q * error, (q - 1) * error).mean()

    assert causes(lambda: regression(pinball)) == []


def test_softmax_over_the_batch() -> None:
    """Named for a classifier, quiet for the right axis."""

    def train(dim: int) -> None:
        model = network()
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in batches():
            opt.zero_grad()
            log_p = torch.log_softmax(model(x), dim=dim)
            F.nll_loss(log_p, y).backward()
            opt.step()

    (finding,) = found(lambda: train(0))
    assert finding.cause == "softmax-axis"
    assert accused(finding) == "log_p = torch.log_softmax(model(x), dim=dim)"
    assert causes(lambda: train(1)) == []


def classifier(step: Callable[[Tensor], Tensor], *, maximize: bool = False) -> None:
    """A loop whose backward pass starts from what `step` makes of the loss."""
    model = network()
    opt = torch.optim.SGD(model.parameters(), lr=0.1, maximize=maximize)
    for x, y in batches(60):
        opt.zero_grad()
        step(F.cross_entropy(model(x), y)).backward()
        opt.step()


def test_a_loss_that_is_made_larger() -> None:
    """By a minus, by maximize=True, by an update along the gradient; the first two cancel."""
    assert causes(lambda: classifier(lambda loss: -loss)) == ["loss-ascended"]
    assert causes(lambda: classifier(lambda loss: 0.1 - 2 * loss)) == ["loss-ascended"]
    assert causes(lambda: classifier(lambda loss: loss, maximize=True)) == ["loss-ascended"]
    assert causes(lambda: classifier(lambda loss: -loss, maximize=True)) == []

    def by_hand() -> None:
        model = network()
        for x, y in batches(60):
            F.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p += 0.1 * p.grad
                    p.grad = None

    (finding,) = found(by_hand)
    assert finding.cause == "loss-ascended"
    assert accused(finding) == "p += 0.1 * p.grad"


def test_rewards_that_grow_are_quiet() -> None:
    """A policy gradient makes a return large, by a minus before it."""

    def train() -> None:
        torch.manual_seed(0)
        policy = nn.Linear(4, 3)
        opt = torch.optim.Adam(policy.parameters(), lr=0.05)
        for _ in range(40):
            chosen = torch.distributions.Categorical(logits=policy(torch.randn(32, 4)))
            action = chosen.sample()
            reward = (action == 1).float()
            opt.zero_grad()
            (-(chosen.log_prob(action) * (reward - reward.mean())).mean()).backward()
            opt.step()

    assert causes(train) == []


def test_losses_kept_with_their_graphs() -> None:
    """The line that adds them up; numbers are quiet, and so is a window of a few."""

    def train(keep: str) -> None:
        model, total, window = network(), torch.zeros(()), list[Tensor]()
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in batches(60):
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            if keep == "sum":
                total = total + loss
            elif keep == "number":
                total += loss.item()
            else:
                window = [*window[-5:], loss]

    (finding,) = found(lambda: train("sum"))
    assert finding.cause == "graph-kept"
    assert accused(finding) == "total = total + loss"
    assert causes(lambda: train("number")) == []
    assert causes(lambda: train("window")) == []
