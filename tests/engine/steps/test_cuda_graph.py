from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from tests.engine.twins import batches, distance, network, plain_step, sgd
from torchmlp import MLP, Engine
from torchmlp.engine.state.sgd_update import gradient_only
from torchmlp.engine.state.updates import Slot
from torchmlp.engine.state.workspace import Workspace
from torchmlp.engine.steps.cuda_graph import GraphStep
from torchmlp.engine.steps.torch_step import TorchStep

ROWS = 7


class Capture:
    """Captures as CUDA does, on a CPU: runs once, and later runs the same again on the same
    memory."""

    def __init__(self) -> None:
        self.captured = self.replayed = 0

    def __call__(self, run: Callable[[], None]) -> Callable[[], object]:
        self.captured += 1
        run()

        def replay() -> None:
            self.replayed += 1
            run()

        return replay


def graph_step(mlp: MLP, capture: Capture) -> tuple[GraphStep, list[Tensor]]:
    """A step of gradients, and the buffers they go to."""
    workspace = Workspace(mlp, ROWS, 0, is_pixels=False)
    step = GraphStep(TorchStep(workspace, "cross_entropy"), capture)
    return step, bind(step, mlp)


def bind(step: GraphStep, mlp: MLP) -> list[Tensor]:
    gradients = [torch.full_like(p, float("nan"), requires_grad=False) for p in mlp.parameters()]
    step.bind([Slot(p, g, 0) for p, g in zip(mlp.parameters(), gradients, strict=True)])
    return gradients


def gradients_by_autograd(mlp: MLP, x: Tensor, target: Tensor) -> tuple[Tensor, list[Tensor]]:
    twin = mlp.to_sequential()
    loss = plain_step(twin, "cross_entropy", sgd(lr=0.0)(twin.parameters()), x, target)
    return loss, [p.grad for p in twin.parameters() if p.grad is not None]


def test_a_replay_takes_the_batch_it_is_given() -> None:
    """The step is captured once, over inputs of its own; each batch is copied there and gives its
    own loss and gradients, and no parameter moves."""
    mlp, capture = network(), Capture()
    step, gradients = graph_step(mlp, capture)
    start = deepcopy(mlp.state_dict())
    losses = []
    for count, (x, target) in enumerate(batches(4), 1):
        kept = x.clone(), target.clone()
        losses.append(step.take(x, target, [gradient_only()]))
        assert losses[-1] is not step.loss  # which the next replay overwrites
        loss, expected = gradients_by_autograd(mlp, x, target)
        torch.testing.assert_close(losses[-1], loss, rtol=1e-12, atol=0)
        assert distance(gradients, expected) < 1e-12
        assert (capture.captured, capture.replayed) == (1, count)
        x.zero_()  # the batch is the caller's again
        assert kept[1].equal(target)
    assert all(value.equal(start[name]) for name, value in mlp.state_dict().items())
    assert len({float(loss) for loss in losses}) == 4  # each a tensor of its own


def test_a_graph_of_other_places_is_given_up() -> None:
    """Bound anew, the step is captured anew and writes where it was told last."""
    mlp, capture = network(), Capture()
    step, old = graph_step(mlp, capture)
    ((x, target),) = batches(1)
    step.take(x, target, [gradient_only()])
    before = [g.clone() for g in old]
    new = bind(step, mlp)
    step.take(2 * x, target, [gradient_only()])
    assert capture.captured == 2
    _, expected = gradients_by_autograd(mlp, 2 * x, target)
    assert distance(new, expected) < 1e-12
    assert all(a.equal(b) for a, b in zip(before, old, strict=True))


def test_right_answers_are_those_of_the_replay() -> None:
    """`right` counts in the output that the last replay has left."""
    mlp, capture = network(), Capture()
    step, _ = graph_step(mlp, capture)
    for x, target in batches(5):
        step.take(x, target, [gradient_only()])
        assert int(step.right(target)) == int((mlp(x).argmax(-1) == target).sum())


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_an_engine_in_rehearsal(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """With a stand-in for CUDA's graphs an engine on a CPU takes the step of a GPU: gradients by
    replay, the optimizer's own step by settings as they are then; its run is autograd's."""
    capture = Capture()
    monkeypatch.setattr("torchmlp.engine.steps.cuda_graph.rehearsal", capture)
    mlp = network()
    twin = mlp.to_sequential()
    mine, theirs = (
        getattr(torch.optim, kind)(m.parameters(), lr=0.01, weight_decay=0.1) for m in (mlp, twin)
    )
    engine = Engine(mlp, "cross_entropy", mine)
    for number, (x, target) in enumerate(batches(10)):
        for optimizer in (mine, theirs):
            optimizer.param_groups[0]["lr"] = 0.02 / (1 + number)
        engine.step(x, target)
        plain_step(twin, "cross_entropy", theirs, x, target)
    assert (capture.captured, capture.replayed) == (1, 10)
    assert engine.how.startswith("a CUDA graph of torch's operators")
    assert distance(list(mlp.parameters()), list(twin.parameters())) < 1e-12


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_on_a_gpu_it_trains_as_autograd_does(
    gpu: torch.device, optimizer: str, dropout: float
) -> None:
    """A captured graph, replayed over batches of two sizes: the weights of a plain loop; with
    dropout, whose masks a graph draws otherwise, the loss falls."""
    mlp = network("relu", (6, 32, 3), dropout=dropout).to(gpu)
    twin = mlp.to_sequential()

    def optimize(parameters: list[Tensor]) -> torch.optim.Optimizer:
        if optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True)
        return torch.optim.Adam(parameters, lr=0.01, capturable=True)

    mine, theirs = optimize(list(mlp.parameters())), optimize(list(twin.parameters()))
    engine = Engine(mlp, "cross_entropy", mine)
    data = [(x.to(gpu), t.to(gpu)) for rows in (64, 64, 9) for x, t in batches(1, rows=(rows,))]
    losses = []
    for x, target in data * 10:
        losses.append(engine.step(x, target))
        expected = plain_step(twin, "cross_entropy", theirs, x, target)
        if not dropout:
            torch.testing.assert_close(losses[-1], expected, rtol=1e-9, atol=1e-9)
    assert engine.how.startswith("a CUDA graph of torch's operators")
    if dropout:
        assert losses[-3] < losses[0]
    else:
        assert distance(list(mlp.parameters()), list(twin.parameters())) < 1e-9
