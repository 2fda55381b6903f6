"""The faster of two ways is taken, and torch's where the kernels cannot be had."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine.twins import batches, distance, network
from torchmlp.engine.state.workspace import Workspace
from torchmlp.engine.steps.mixed_step import MixedStep, MixedWorkspace
from torchmlp.engine.steps.torch_step import TorchStep
from torchmlp.engine.triton import choice
from torchmlp.engine.triton.choice import ChosenUpdate, faster_step, faster_update, quickest

CPU = torch.device("cpu")


class Clock:
    """Time that passes as it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds: float) -> Callable[[], None]:
        def take() -> None:
            self.now += seconds

        return take


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_chosen", {})
    monkeypatch.setattr("torchmlp.engine.steps.cuda_graph.rehearsal", replay)
    monkeypatch.delenv("TORCHMLP_TRITON", raising=False)


def replay(run: Callable[[], None]) -> Callable[[], object]:
    run()
    return run


@pytest.mark.parametrize(
    ("seconds", "best"), [(2.0, "torch"), (1.0, "torch"), (0.98, "torch"), (0.9, "kernels")]
)
def test_the_quickest(seconds: float, best: str) -> None:
    """The first, unless another is faster by more than chance makes it."""
    clock = Clock()
    ways = {"torch": clock.taking(1.0), "kernels": clock.taking(seconds)}
    assert quickest(ways, CPU, clock) == best


def test_a_slow_round_decides_nothing() -> None:
    """The best round of each counts."""
    clock, times = Clock(), iter([50.0] * choice.CALLS + [1.0] * 1000)

    def torchs() -> None:
        clock.now += next(times)

    ways = {"torch": torchs, "kernels": clock.taking(1.5)}
    assert quickest(ways, CPU, clock) == "torch"


def plain(precision: torch.dtype | None = None) -> TorchStep:
    mlp = network("gelu", dtype=torch.float32, dropout=0.3)
    if precision is not None:
        return MixedStep(MixedWorkspace(mlp, 7, 0, precision, is_pixels=False), "cross_entropy")
    return TorchStep(Workspace(mlp, 7, 0, is_pixels=False), "cross_entropy")


def batch() -> tuple[Tensor, Tensor]:
    ((x, target),) = batches(1, dtype=torch.float32)
    return x, target


def test_without_triton_torch_takes_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is said."""
    for name in ("step", "update", "kernels"):
        monkeypatch.setitem(sys.modules, f"torchmlp.engine.triton.{name}", None)
    step = plain()
    assert faster_step(step, *batch()) == (step, "a CUDA graph of torch's operators (no Triton)")
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    assert faster_update(sgd) is sgd


@pytest.mark.parametrize("asked", ["0", "1"])
def test_a_way_can_be_asked_for(
    gpu: torch.device, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """TORCHMLP_TRITON=0 forbids the kernels, 1 takes them; nothing is measured."""
    monkeypatch.setenv("TORCHMLP_TRITON", asked)
    monkeypatch.setattr(choice, "quickest", None)
    mlp = network(dtype=torch.float32).to(gpu)
    step = TorchStep(Workspace(mlp, 7, 0, is_pixels=False), "cross_entropy")
    x, target = (t.to(gpu) for t in batch())
    assert ("Triton" in faster_step(step, x, target)[1]) == (asked == "1")
    p = torch.zeros(3, device=gpu, requires_grad=True)
    update = faster_update(torch.optim.Adam([p]))
    p.grad = torch.ones(3, device=gpu)
    for _ in range(3):
        update.step()
    kernel = update.kernel if isinstance(update, ChosenUpdate) else None
    assert bool(kernel and kernel._known) == (asked == "1")


class Fails(TorchStep):
    def _run(self, x: Tensor) -> None:
        del x
        raise RuntimeError("no such instruction")


def test_kernels_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a compiler says of them, torch takes the step, once and for all."""
    step = plain()
    calls = []

    def with_kernels(_: TorchStep) -> tuple[TorchStep, str]:
        calls.append(1)
        return Fails(step.workspace, step.loss), ""

    monkeypatch.setattr(choice, "_with_kernels", with_kernels)
    found, how = faster_step(step, *batch())
    assert found is step
    assert how == "a CUDA graph of torch's operators; Triton's kernels failed: RuntimeError"
    assert faster_step(step, *batch()) == (step, how)


class Counts:
    """An optimizer's step as a kernel would take it."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.taken = optimizer, 0

    def is_ready(self) -> bool:
        return bool(self.optimizer.state)

    def step(self) -> None:
        self.taken += 1


@pytest.mark.parametrize("best", ["torch", "kernels"])
def test_the_update_is_chosen_once_its_state_is_there(
    monkeypatch: pytest.MonkeyPatch, best: str
) -> None:
    """The first step is the optimizer's, which makes its state; then both are measured, on copies,
    and from there on the faster one is taken."""
    p = torch.zeros(3, requires_grad=True)
    adam = torch.optim.Adam([p], lr=0.5)
    measured = []

    def chosen(ways: dict[str, Any], *_: Any) -> str:
        measured.append({name: way() for name, way in ways.items()})
        return best

    monkeypatch.setattr(choice, "quickest", chosen)
    kernel: Any = Counts(adam)
    update = ChosenUpdate(adam, kernel, Clock())
    p.grad = torch.ones(3)
    for _ in range(4):
        update.step()
    assert [list(ways) for ways in measured] == [["torch", "kernels"]]
    assert kernel.taken == (3 if best == "kernels" else 0)
    steps = 1 if best == "kernels" else 4
    assert float(adam.state[p]["step"]) == steps
    torch.testing.assert_close(p.detach(), torch.full((3,), -0.5 * steps))


@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("best", ["torch", "kernels"])
def test_the_step_that_is_chosen(
    gpu: torch.device, monkeypatch: pytest.MonkeyPatch, precision: torch.dtype | None, best: str
) -> None:
    """Both are tried as they will run, without a trace in the parameters or in the generator."""
    if gpu.type == "cuda":
        pytest.skip("on a GPU the clock chooses: test_an_engine_on_a_gpu")
    monkeypatch.setattr(choice, "quickest", lambda ways, *_: {**ways} and best)
    step, (x, target) = plain(precision), batch()
    before = [layer.weight.clone() for layer in step.workspace.layers]
    torch.manual_seed(0)
    state = torch.get_rng_state()
    found, how = faster_step(step, x, target)
    assert torch.get_rng_state().equal(state)
    assert (found is step) == (best == "torch")
    assert how == "a CUDA graph of torch's operators" + " and Triton's kernels" * (
        found is not step
    )
    assert isinstance(found, MixedStep) == (precision is not None)
    if precision is None:
        layers = step.workspace.layers
        assert all(a.equal(layer.weight) for a, layer in zip(before, layers, strict=True))


def test_it_is_measured(gpu: torch.device) -> None:
    """By the clock, once for steps of one kind: under the interpreter the kernels lose."""
    x, target = (t.to(gpu) for t in batch())
    mlp = network(dtype=torch.float32).to(gpu)
    step = TorchStep(Workspace(mlp, 7, 0, is_pixels=False), "cross_entropy")
    found, how = faster_step(step, x, target)
    assert "failed" not in how
    assert (found is step) == ("Triton" not in how)
    assert found is step or gpu.type == "cuda"
    assert len(choice._chosen) == 1
    assert faster_step(step, x, target)[1] == how
    assert len(choice._chosen) == 1


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_an_engine_on_a_gpu(gpu: torch.device, kind: str) -> None:
    """Whatever is chosen, its run is autograd's."""
    from torchmlp import Engine  # noqa: PLC0415  beside those that need triton

    mlp = network("gelu", dtype=torch.float32).to(gpu)
    twin = mlp.to_sequential()
    mine, theirs = (getattr(torch.optim, kind)(m.parameters(), lr=0.01) for m in (mlp, twin))
    engine = Engine(mlp, "cross_entropy", mine)
    for x, target in batches(20, dtype=torch.float32):
        engine.step(x.to(gpu), target.to(gpu))
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(twin(x.to(gpu)), target.to(gpu)).backward()  # type: ignore[no-untyped-call]  # torch declares no types
        theirs.step()
    assert engine.how.startswith("a CUDA graph of torch's operators")
    assert distance(list(mlp.parameters()), list(twin.parameters())) < 1e-5
