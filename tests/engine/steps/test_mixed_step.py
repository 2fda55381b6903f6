"""Products in 16 bits, of float32 parameters: the engine beside autograd under autocast."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.amp import GradScaler

from tests.engine.steps.test_cuda_graph import Capture
from tests.engine.twins import batches, distance, network
from torchmlp import MLP, Engine
from torchmlp.autograd.loss import mean_loss
from torchmlp.engine.state.sgd_update import gradient_only
from torchmlp.engine.state.updates import Slot
from torchmlp.engine.steps.cuda_graph import GraphStep
from torchmlp.engine.steps.mixed_step import MixedStep, MixedWorkspace
from torchmlp.kernels.activations import ACTIVATIONS

# Of a gradient beside autocast's, in which the average is taken elsewhere: a few roundings, of
# which each is 2^-9 and 2^-12 at most.
ROUNDING = {torch.bfloat16: 2**-7, torch.float16: 2**-10}
both_dtypes = pytest.mark.parametrize("dtype", ROUNDING, ids=str)


def under_autocast(
    mlp: MLP, x: Tensor, target: Tensor, dtype: torch.dtype, loss: str = "cross_entropy"
) -> Tensor:
    pixels = x.flatten(1) / 255 if x.dtype == torch.uint8 else x
    with torch.autocast("cpu", dtype):
        return mean_loss(mlp(pixels), target, loss)


def gradients(mlp: MLP) -> list[Tensor]:
    return [p.grad for p in mlp.parameters() if p.grad is not None]


def stream(steps: int, loss: str = "cross_entropy-indices") -> Iterator[tuple[Tensor, Tensor]]:
    return batches(steps, loss, rows=(24,), dtype=torch.float32)


@both_dtypes
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_autocasts(activation: str, dtype: torch.dtype) -> None:
    """Loss and gradients are those of autograd under autocast, to a rounding; both are float32."""
    mlp = network(activation, dtype=torch.float32)
    twin = deepcopy(mlp)
    sgd, theirs = (torch.optim.SGD(m.parameters(), lr=0.0) for m in (mlp, twin))
    # Unscaled, autocast's float16 deltas are subnormal.
    scalers = [GradScaler("cpu", init_scale=64.0, enabled=dtype == torch.float16) for _ in "12"]
    scaler = scalers[0] if dtype == torch.float16 else None
    engine = Engine(mlp, "cross_entropy", sgd, precision=dtype, scaler=scaler)
    for x, target in stream(3):
        loss = engine.step(x, target)
        expected = under_autocast(twin, x, target, dtype)
        twin.zero_grad()
        scalers[1].scale(expected).backward()  # type: ignore[no-untyped-call]  # torch declares no types
        scalers[1].step(theirs)
        scalers[1].update()
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, expected.detach(), rtol=ROUNDING[dtype], atol=0)
        assert distance(gradients(mlp), gradients(twin)) < ROUNDING[dtype]
        assert all(g.dtype == torch.float32 for g in gradients(mlp))
    assert engine.how == f"torch's operators (products in {dtype})"
    assert {layer.weight.dtype for layer in engine.layers} == {dtype}


@pytest.mark.parametrize("loss_case", ["cross_entropy-probabilities", "mse", "bce"])
def test_every_loss(loss_case: str) -> None:
    """Soft targets and the losses of values: autocast's gradients."""
    mlp, loss = network(dtype=torch.float32), loss_case.partition("-")[0]
    twin = deepcopy(mlp)
    sgd = torch.optim.SGD(mlp.parameters(), lr=0.0)
    engine = Engine(mlp, loss, sgd, precision=torch.bfloat16)
    for x, target in stream(2, loss_case):
        engine.step(x, target)
        twin.zero_grad()
        under_autocast(twin, x, target, torch.bfloat16, loss).backward()  # type: ignore[no-untyped-call]  # torch declares no types
        assert distance(gradients(mlp), gradients(twin)) < ROUNDING[torch.bfloat16]


@pytest.mark.parametrize("kind", ["pixels", "dropout", "both", "frozen", "no bias", "two axes"])
def test_what_a_step_can_meet(kind: str) -> None:
    """Pixels, masks, frozen layers, layers without bias, more axes: autocast's gradients."""
    rates: Any = {"dropout": 0.3, "input_dropout": 0.1} if kind in ("dropout", "both") else {}
    mlp = network("gelu", dtype=torch.float32, bias=kind != "no bias", **rates)
    if kind == "frozen":
        mlp.layers[0].requires_grad_(requires_grad=False)
    twin = deepcopy(mlp)
    sgd = torch.optim.SGD(mlp.parameters(), lr=0.0)
    engine = Engine(mlp, "cross_entropy", sgd, precision=torch.bfloat16)
    x = torch.randn(24, 6)
    if kind in ("pixels", "both"):
        x = torch.randint(256, (24, 2, 3), dtype=torch.uint8)
    target = torch.arange(24) % 3
    if kind == "two axes":
        x, target = x.view(4, 6, 6), target.view(4, 6)
    torch.manual_seed(5)
    loss = engine.step(x, target)
    torch.manual_seed(5)
    expected = under_autocast(twin, x, target, torch.bfloat16)
    expected.backward()  # type: ignore[no-untyped-call]  # torch declares no types
    torch.testing.assert_close(loss, expected.detach(), rtol=2**-7, atol=0)
    assert (
        len(gradients(mlp))
        == len(gradients(twin))
        == len(list(mlp.parameters())) - 2 * (kind == "frozen")
    )
    assert distance(gradients(mlp), gradients(twin)) < 2 * ROUNDING[torch.bfloat16]


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_run_is_autocasts_run(optimizer: str) -> None:
    """After thirty steps the float32 weights are autocast's, and no others: where the average is a
    power of two, and so no rounding, a run in float32 is much further away."""
    mlp = network(dtype=torch.float32)
    twin, exact = deepcopy(mlp), deepcopy(mlp)
    start = [p.detach().clone() for p in mlp.parameters()]

    def made(model: MLP) -> Any:
        return getattr(torch.optim, optimizer)(model.parameters(), lr=0.02)

    mine, theirs, plain = made(mlp), made(twin), made(exact)
    engine = Engine(mlp, "cross_entropy", mine, precision=torch.bfloat16)
    for x, target in batches(30, rows=(32,), dtype=torch.float32):
        engine.step(x, target)
        for model, own, dtype in ((twin, theirs, torch.bfloat16), (exact, plain, torch.float32)):
            own.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                loss = mean_loss(model(x), target, "cross_entropy")
            loss.backward()  # type: ignore[no-untyped-call]  # torch declares no types
            own.step()
    between = distance(list(mlp.parameters()), list(twin.parameters()))
    assert 3 * between < distance(list(exact.parameters()), list(twin.parameters()))
    assert distance(start, list(twin.parameters())) > 100 * between
    assert {p.dtype for p in mlp.parameters()} == {torch.float32}


def test_small_updates_are_not_lost() -> None:
    """Steps that are smaller than a bfloat16 can tell apart add up: the weights are float32's."""
    mlp = network(dtype=torch.float32)
    start = [p.detach().clone() for p in mlp.parameters()]
    sgd = torch.optim.SGD(mlp.parameters(), lr=1e-5)
    engine = Engine(mlp, "cross_entropy", sgd, precision=torch.bfloat16)
    ((x, target),) = stream(1)
    engine.step(x, target)
    one = distance(list(mlp.parameters()), start)
    for _ in range(49):
        engine.step(x, target)
    assert distance(list(mlp.parameters()), start) == pytest.approx(50 * one, rel=0.05)


def scaled_run(scaler: GradScaler, steps: int, wide: float = 1.0) -> tuple[MLP, MLP, list[float]]:
    """The engine with a scaler and autocast with its like, on the same batches; the scales."""
    mlp = network(dtype=torch.float32)
    twin, theirs = deepcopy(mlp), GradScaler("cpu")
    theirs.load_state_dict(scaler.state_dict())
    mine, other = (torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9) for m in (mlp, twin))
    engine = Engine(mlp, "cross_entropy", mine, precision=torch.float16, scaler=scaler)
    scales = []
    for x, target in stream(steps):
        engine.step(wide * x, target)
        other.zero_grad()
        loss = under_autocast(twin, wide * x, target, torch.float16)
        theirs.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch declares no types
        theirs.step(other)
        theirs.update()
        scales.append(scaler.get_scale())
        assert scaler.state_dict() == theirs.state_dict()
    return mlp, twin, scales


def test_the_scale_grows_and_backs_off_as_in_a_loop_by_hand() -> None:
    """With gradients that overflow at first: the same steps are skipped, the scale is halved and
    doubled at the same steps, and the weights are those of the loop."""
    scaler = GradScaler("cpu", init_scale=2.0**24, growth_interval=6)
    mlp, twin, scales = scaled_run(scaler, 20)
    assert scales[0] == 2.0**23  # skipped
    assert max(scales[k + 1] / scales[k] for k in range(19)) == 2.0
    assert distance(list(mlp.parameters()), list(twin.parameters())) < 2**-10


def test_a_step_that_overflows_is_skipped() -> None:
    """Neither a weight nor a velocity changes, and the next step is taken with half the scale."""
    mlp = network(dtype=torch.float32)
    start = [p.detach().clone() for p in mlp.parameters()]
    sgd = torch.optim.SGD(mlp.parameters(), lr=0.1, momentum=0.9)
    scaler = GradScaler("cpu", init_scale=2.0**30)
    engine = Engine(mlp, "cross_entropy", sgd, precision=torch.float16, scaler=scaler)
    ((x, target),) = stream(1)
    engine.step(x, target)
    assert all(a.equal(b) for a, b in zip(start, mlp.parameters(), strict=True))
    assert not sgd.state
    assert scaler.get_scale() == 2.0**29
    for _ in range(20):
        engine.step(x, target)
    assert sgd.state
    assert not start[0].equal(mlp.weights[0])


def test_scaling_keeps_small_gradients() -> None:
    """Deltas too small for float16 are 0 in it, and with a scaler they are not."""
    mlp = network(dtype=torch.float32)
    x, target = 1e-3 * torch.randn(512, 6), torch.arange(512) % 3
    with torch.no_grad():
        mlp.weights[-1].mul_(1e-7)
    found = []
    for scaler in (None, GradScaler("cpu", init_scale=2.0**16)):
        sgd = torch.optim.SGD(mlp.parameters(), lr=0.0)
        Engine(mlp, "cross_entropy", sgd, precision=torch.float16, scaler=scaler).step(x, target)
        found.append(float(gradients(mlp)[0].norm()))
    assert found[0] == 0
    assert found[1] > 0


def test_the_step_can_be_captured() -> None:
    """Replayed on the same memory, the step reads the parameters, the batch and the scale as they
    are then."""
    mlp = network(dtype=torch.float32)
    workspace = MixedWorkspace(mlp, 7, 0, torch.float16, is_pixels=False)
    inner, capture = MixedStep(workspace, "cross_entropy", is_scaled=True), Capture()
    step = GraphStep(inner, capture)
    into = [torch.zeros_like(p, requires_grad=False) for p in mlp.parameters()]
    step.bind([Slot(p, g, 0) for p, g in zip(mlp.parameters(), into, strict=True)])
    scaler = GradScaler("cpu", init_scale=8.0)
    for x, target in batches(4, dtype=torch.float32):
        inner.scale_by(scaler)
        step.take(x, target, [gradient_only()])
        twin = deepcopy(mlp)
        scaler.scale(under_autocast(twin, x, target, torch.float16)).backward()  # type: ignore[no-untyped-call]  # torch declares no types
        assert distance(into, gradients(twin)) < ROUNDING[torch.float16]
        scaler.update(2 * scaler.get_scale())
        with torch.no_grad():
            mlp.weights[0].mul_(1.5)
    assert capture.captured == 1


def test_autocast_around_a_step_changes_nothing() -> None:
    """Lightning's own batches are taken inside of it, those taken ahead are not."""
    runs = []
    for enabled in (False, True):
        mlp = network(dtype=torch.float32)
        sgd = torch.optim.SGD(mlp.parameters(), lr=0.05)
        engine = Engine(mlp, "cross_entropy", sgd, precision=torch.bfloat16)
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = [engine.step(x, target) for x, target in stream(5)]
        runs.append([*losses, *mlp.parameters()])
    assert all(a.equal(b) for a, b in zip(*runs, strict=True))


def test_a_copy_keeps_its_precision() -> None:
    """deepcopy gives an engine of the same precision, over a model and a scaler of its own."""
    mlp = network(dtype=torch.float32)
    sgd = torch.optim.SGD(mlp.parameters(), lr=0.05)
    scaler = GradScaler("cpu", init_scale=64.0)
    engine = Engine(mlp, "cross_entropy", sgd, precision=torch.float16, scaler=scaler)
    copy = deepcopy(engine)
    ((x, target),) = stream(1)
    assert copy.step(x, target).equal(engine.step(x, target))
    assert copy.scaler is not scaler
    assert copy.how == engine.how


WRONG: dict[str, tuple[dict[str, Any], torch.dtype, str]] = {
    "another dtype": (
        {"precision": torch.float64}, torch.float32,
        "expected precision to be torch.bfloat16, torch.float16 or None, got torch.float64",
    ),
    "parameters": (
        {"precision": torch.bfloat16}, torch.float64,
        "expected float32 parameters beside products in torch.bfloat16, got torch.float64; convert",
    ),
    "a scaler alone": (
        {"scaler": GradScaler("cpu")}, torch.float32, "a scaler is for products in 16 bits: give",
    ),
    "C++": (
        {"precision": torch.bfloat16, "native": True}, torch.float32,
        "native=True, but products in torch.bfloat16; leave it out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_does_not_fit(case: tuple[dict[str, Any], torch.dtype, str]) -> None:
    """A ValueError that names what came and what was expected, before anything is changed."""
    settings, dtype, message = case
    mlp = network(dtype=dtype)
    start = [p.detach().clone() for p in mlp.parameters()]
    sgd = torch.optim.SGD(mlp.parameters(), lr=0.1)
    ((x, target),) = batches(1, dtype=dtype)
    with pytest.raises(ValueError, match=r"^Engine") as error:
        Engine(mlp, "cross_entropy", sgd, **settings).step(x, target)
    assert message in str(error.value)
    assert all(a.equal(b) for a, b in zip(start, mlp.parameters(), strict=True))


@both_dtypes
def test_on_a_gpu(gpu: torch.device, dtype: torch.dtype) -> None:
    """Captured as a CUDA graph, with a scaler for float16: the run of autocast there."""
    mlp = network("relu", (6, 32, 3), dtype=torch.float32).to(gpu)
    twin = deepcopy(mlp)
    mine, theirs = (torch.optim.SGD(m.parameters(), lr=0.02, momentum=0.9) for m in (mlp, twin))
    is_scaled = dtype == torch.float16
    scalers = [GradScaler("cuda", growth_interval=5, enabled=is_scaled) for _ in range(2)]
    scaler = scalers[0] if is_scaled else None
    engine = Engine(mlp, "cross_entropy", mine, precision=dtype, scaler=scaler)
    for x, target in batches(20, rows=(64,), dtype=torch.float32):
        engine.step(x.to(gpu), target.to(gpu))
        theirs.zero_grad()
        with torch.autocast("cuda", dtype):
            loss = mean_loss(twin(x.to(gpu)), target.to(gpu), "cross_entropy")
        scalers[1].scale(loss).backward()  # type: ignore[no-untyped-call]  # torch declares no types
        scalers[1].step(theirs)
        scalers[1].update()
    assert engine.how.startswith("a CUDA graph")
    assert distance(list(mlp.parameters()), list(twin.parameters())) < 4 * ROUNDING[dtype]


def test_a_precision_that_is_set_holds_from_the_next_step() -> None:
    """As every other setting of an engine; SGD's velocity goes on."""
    mlp = network(dtype=torch.float32)
    sgd = torch.optim.SGD(mlp.parameters(), lr=0.05, momentum=0.9)
    engine = Engine(mlp, "cross_entropy", sgd, native=False)
    ((x, target),) = stream(1)
    dtypes = []
    for precision in (None, torch.bfloat16, None):
        engine.precision = precision
        before = [p.detach().clone() for p in mlp.parameters()]
        engine.step(x, target)
        dtypes.append(engine.layers[0].a.dtype)
        assert all(not a.equal(b) for a, b in zip(before, mlp.parameters(), strict=True))
        assert len(sgd.state) == len(before)
    assert dtypes == [torch.float32, torch.bfloat16, torch.float32]
