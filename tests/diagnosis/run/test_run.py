"""A run is read from whatever holds its data, and brought back to its start from anywhere."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import LBFGS, SGD, Adam
from torch.utils.data import DataLoader, TensorDataset

from tests.diagnosis.runs import GOOD, blobs, in_batches, net
from tests.diagnosis.test_diagnose import BEGUN, differences, state_of
from torchmlp.diagnosis.run.batches import read_batches
from torchmlp.diagnosis.run.run import Batch, CannotDiagnoseError, TrainingRun, TrainingStepRun
from torchmlp.diagnosis.run.snapshot import Snapshot, restored_afterwards
from torchmlp.diagnosis.trace.trace import Trace


def rows(batches: list[Batch]) -> list[list[float]]:
    """All samples, sorted."""
    return sorted(torch.cat([x for x, _ in batches]).tolist())


@pytest.mark.parametrize("kind", ["tensors", "dataset"])
def test_samples_are_drawn_once_each_with_their_targets(kind: str) -> None:
    """No sample is lost or taken twice, and each keeps its target."""
    x, y = torch.arange(48.0).unsqueeze(1), torch.arange(48)
    data: Any = (x, y) if kind == "tensors" else TensorDataset(x, y)
    batches = read_batches(data, 8, 100)
    assert [len(x) for x, _ in batches] == [8] * 6
    assert rows(batches) == x.tolist()
    assert all(torch.equal(x[:, 0].long(), y) for x, y in batches)
    assert rows(batches[:1]) != x[:8].tolist()


def test_the_order_is_its_own() -> None:
    """The global generator neither matters nor moves."""
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        drawn.append(read_batches(blobs(), 16, 5))
        assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a[0], b[0]) for a, b in zip(*drawn, strict=True))


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(7, None, [7]), (40, None, [32]), (9, 4, [4, 4])]
)
def test_a_small_rest_is_left_out(count: int, size: int | None, sizes: list[int]) -> None:
    """Of 32 each by default, or all; a rest below half a batch waits for its turn."""
    batches = read_batches((torch.rand(count, 2), torch.rand(count)), size, 10)
    assert [len(x) for x, _ in batches] == sizes


def test_no_more_is_read_than_asked_for() -> None:
    """As many batches as there are steps."""
    for data in (blobs(), TensorDataset(*blobs()), in_batches(blobs())):
        assert len(read_batches(data, 16, 3)) == 3


def test_batches_are_gone_through_again() -> None:
    """A list may hold fewer than there are steps."""
    subject = GOOD.subject()
    count = len(subject.batches)
    assert subject.batch(count + 2) is subject.batch(2)


def test_an_empty_batch_among_others_is_no_batch() -> None:
    """It is left out."""
    batches = in_batches(blobs())
    assert len(read_batches([(batches[0][0][:0], batches[0][1][:0]), *batches], None, 99)) == 15


def test_a_dataloader_keeps_its_batches() -> None:
    """Their size and order are the user's."""
    loader = DataLoader(TensorDataset(*blobs()), 16)
    for (x, y), (a, b) in zip(read_batches(loader, None, 99), in_batches(blobs()), strict=True):
        assert torch.equal(x, a)
        assert torch.equal(y, b)


# Output and loss.


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cross_entropy", F.cross_entropy(torch.ones(4, 3), torch.zeros(4).long())),
        ("mse", None),
    ],
)
def test_a_loss_may_be_a_name(name: str, expected: Tensor | None) -> None:
    """One of this package's, a mean over the batch."""
    model = nn.Linear(2, 3)
    subject = TrainingRun(model, name, SGD(model.parameters(), 0.1), in_batches(blobs()))
    target = torch.zeros(4).long() if expected is not None else torch.zeros(4, 3)
    value = subject.loss_of(torch.ones(4, 3), target)
    assert value.shape == ()
    if expected is not None:
        torch.testing.assert_close(value, expected)


def test_a_loss_of_one_number_is_a_scalar() -> None:
    """Whatever its axes."""
    assert TrainingRun.scalar(torch.ones(1, 1)).shape == ()
    with pytest.raises(CannotDiagnoseError, match=r"shape \(2,\)"):
        TrainingRun.scalar(torch.ones(2))


def test_the_phase_of_a_traced_pass_changes_at_the_output() -> None:
    """What the loss calls is told from what the model calls."""
    subject = GOOD.subject()
    trace = Trace(subject.model)
    with trace:
        output, _ = subject.forward(subject.batch(0), trace)
    assert trace.output is output
    assert [c.name for c in trace.calls if c.phase == "model"] == ["linear", "relu", "linear"]
    assert next(c.name for c in trace.calls if c.phase == "loss") == "cross_entropy"


def test_an_optimizer_that_needs_a_closure_is_known() -> None:
    """LBFGS does, the others do not."""
    model = net(2, 3)
    for optimizer, needs in (
        (LBFGS(model.parameters()), True),
        (SGD(model.parameters(), 0.1), False),
        (Adam(model.parameters()), False),
    ):
        assert TrainingRun(model, "mse", optimizer, in_batches(blobs())).needs_closure == needs


def test_an_optimizer_over_some_of_the_parameters_will_do() -> None:
    """Only the last layer is trained, say."""
    model = net(2, 8, 3)
    TrainingRun(model, "mse", SGD(model[2].parameters(), 0.1), in_batches(blobs()))


def test_a_training_step_is_a_subject_too() -> None:
    """Its output is what entered torch's loss."""
    model = net(2, 8, 3)
    subject = TrainingStepRun(
        model,
        lambda batch: F.cross_entropy(model(batch[0]), batch[1]),
        SGD(model.parameters(), 0.1),
        in_batches(blobs()),
    )
    trace = Trace(model)
    with trace:
        output, loss = subject.forward(subject.batch(0), trace)
    x, y = subject.batch(0)
    assert torch.equal(output, model(x))
    assert torch.equal(loss, F.cross_entropy(model(x), y))


# The start.


def test_a_start_is_brought_back_from_anywhere_and_again() -> None:
    """Other dtype, other memory, other settings, cleared state: twice the same start."""
    for made in BEGUN.values():
        model, optimizer = made()
        before = state_of(model, optimizer)
        start = Snapshot(model, optimizer)
        for _ in range(2):
            model.zero_grad()
            model.double().eval().requires_grad_(requires_grad=False)
            for parameter in model.parameters():
                parameter.data = torch.zeros(1)
            for module in model.modules():
                for name in [*module._buffers]:
                    module.register_buffer(name, torch.zeros(1))
            optimizer.state.clear()
            optimizer.param_groups[0]["lr"] = 77.0
            optimizer.param_groups[0]["added"] = 1
            torch.rand(3)
            assert differences(before, state_of(model, optimizer))
            start.restore()
            assert differences(before, state_of(model, optimizer)) == []


def test_a_gradient_overwritten_in_place_is_brought_back() -> None:
    """The user's .grad is the same tensor with the same numbers."""
    model = nn.Linear(2, 1)
    model(torch.ones(1, 2)).sum().backward()
    gradient = model.weight.grad
    assert gradient is not None
    with restored_afterwards(model, SGD(model.parameters(), 0.1)):
        gradient.zero_()
        model.zero_grad()
    assert model.weight.grad is gradient
    assert gradient.tolist() == [[1.0, 1.0]]


def test_what_is_learned_later_does_not_reach_into_the_start() -> None:
    """Momentum that goes on in place from the restored state leaves the kept one alone."""
    model, optimizer = BEGUN["Sequential, SGD"]()
    before = state_of(model, optimizer)
    start = Snapshot(model, optimizer)
    for _ in range(3):
        model(blobs()[0]).square().mean().backward()
        optimizer.step()
        start.restore()
    assert differences(before, state_of(model, optimizer)) == []


def test_an_error_inside_goes_through() -> None:
    """And everything is as it was."""
    model, optimizer = BEGUN["BatchNorm, Adagrad"]()
    before = state_of(model, optimizer)
    with pytest.raises(KeyError), restored_afterwards(model, optimizer):
        {"output": model(blobs()[0])}["loss"]
    assert differences(before, state_of(model, optimizer)) == []
