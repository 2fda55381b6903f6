"""How long does a step take on the device, as a multiple of its matrix products alone?

    python benchmarks/gpu/gpu_steps.py              without a compiler
    python benchmarks/gpu/gpu_steps.py compiled     torch.compile(mode="max-autotune") against it

ReLU, cross-entropy, float32 and bfloat16's products. The floor is the matrix products of the step
as one CUDA graph. Each way first takes three steps that are compared with autograd's in float64.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import gpu_rows
import torch
import torch.nn.functional as F  # noqa: N812  its name everywhere
from on_device import DEVICE, IS_REHEARSAL, Clock, OnDevice, capture, synchronize
from problem import Problem
from timing import compare
from torch import Tensor
from torch_steps import TIMED_RATES, batch, load, sequential, start

from torchmlp import MLP, Engine

RATE = TIMED_RATES["sgd"]
CASES = [
    ("784-128-10", 128),
    ("784-256-128-10", 128),
    ("784-1000-1000-10", 512),
    ("64-32-10", 32),
    ("784-4096-4096-10", 4096),
    ("784-128-10", 32),
    ("784-64x8-10", 32),
]
COMPILED = CASES[:3]
if IS_REHEARSAL:
    CASES = COMPILED = [("30-16x3-4", 16)]
ROUNDS = 2 if IS_REHEARSAL else 12
CHECKED_STEPS, CHECKED_RATE = 3, {"SGD": 0.1, "Adam": 1e-3}
# Of the way that three steps go. Adam's first are of one length whatever the gradient, and of a
# gradient within rounding of 0 either way.
TOLERANCES = {
    ("SGD", "float32"): 2e-3,
    ("Adam", "float32"): 0.05,
    ("SGD", "bfloat16"): 0.4,
    ("Adam", "bfloat16"): 0.6,
}
KEY = ("network", "batch", "optimizer", "provider")


class Way:
    """A step, its parameters and its optimizer."""

    def __init__(
        self, take: Callable[[], object], parameters: list[Tensor], optimizer: Any
    ) -> None:
        self.take, self.parameters, self.optimizer = take, parameters, optimizer

    def set_rate(self, rate: float) -> None:
        """Of a rate that is captured, in its memory."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


def made(kind: str, parameters: Any, rate: float, **settings: Any) -> Any:
    """An optimizer of torch's."""
    return getattr(torch.optim, kind)(parameters, lr=rate, **settings)


def floor(problem: Problem) -> Callable[[], object]:
    """The matrix products alone, captured."""
    x, _ = batch(problem)
    weights = [w.to(DEVICE) for w in start(problem) if w.ndim > 1]
    products: list[tuple[Tensor, Tensor, Tensor]] = []
    a, inputs, outputs = x.to(DEVICE), [], []
    for weight in weights:
        z = torch.rand(len(x), len(weight), device=DEVICE)
        products.append((a, weight.t(), z))
        inputs.append(a)
        outputs.append(z)
        a = z
    for k in reversed(range(len(weights))):
        delta = torch.rand_like(outputs[k])
        if k:
            products.append((delta, weights[k], torch.empty_like(inputs[k])))
        products.append((delta.t(), inputs[k], torch.empty_like(weights[k])))

    def run() -> None:
        for left, right, out in products:
            torch.mm(left, right, out=out)

    return capture(run)


def engine(
    problem: Problem, kind: str, precision: torch.dtype | None = None, triton: str = ""
) -> Way:
    """Ours: a CUDA graph to the gradients, and the optimizer as people write it.

    Args:
        problem: the network and its batch.
        kind: of the optimizer.
        precision: of the products.
        triton: "0" forbids Triton's kernels, "1" takes them, "" lets the engine measure.
    """
    os.environ["TORCHMLP_TRITON"] = triton  # read in the first steps, which are those checked
    sizes = problem.sizes
    model = MLP(sizes[0], sizes[1:-1], sizes[-1], activation="relu")
    load(model, problem)
    model.to(DEVICE)
    # With the kernels as people write it; without, at its fastest.
    optimizer = made(kind, model.parameters(), RATE, fused=triton == "0" or None)
    steps = Engine(model, "cross_entropy", optimizer, precision=precision)
    x, target = (t.to(DEVICE) for t in batch(problem))
    return Way(lambda: steps.step(x, target), list(model.parameters()), optimizer)


def autograd(
    problem: Problem, kind: str, precision: torch.dtype | None = None, **settings: Any
) -> Way:
    """nn.Sequential, F.cross_entropy, backward(), and an optimizer of torch's."""
    compiled = settings.pop("compiled", False)
    model = sequential(problem).to(DEVICE)
    optimizer = made(kind, model.parameters(), RATE, **settings)
    forward: Callable[[Tensor], Tensor] = model
    if compiled:
        settings = {"backend": "aot_eager"} if IS_REHEARSAL else {"mode": "max-autotune"}
        forward = torch.compile(model, fullgraph=True, dynamic=False, **settings)
    x, target = (t.to(DEVICE) for t in batch(problem))

    def take() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(DEVICE.type, precision, enabled=precision is not None):
            loss = F.cross_entropy(forward(x), target)
        loss.backward()  # type: ignore[no-untyped-call]  # torch declares no types
        optimizer.step()
        return loss

    return Way(take, list(model.parameters()), optimizer)


def captured_autograd(problem: Problem, kind: str) -> Way:
    """The same, all of it as one CUDA graph, its settings fixed: what PyTorch can do by hand."""
    rate = torch.tensor(RATE, device=DEVICE)
    settings: dict[str, Any] = {"fused": True}
    if kind == "Adam" and not IS_REHEARSAL:
        settings["capturable"] = True
    way = autograd(problem, kind, **settings)
    for group in way.optimizer.param_groups:
        group["lr"] = rate
    rate.zero_()  # while it is captured, which takes steps

    def run() -> None:
        way.take()

    replay = capture(run)
    for state in way.optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()
    return Way(replay, way.parameters, way.optimizer)


def reference(problem: Problem, kind: str) -> list[Tensor]:
    """The parameters after the checked steps, by autograd in float64 on the CPU."""
    model = sequential(problem).double()
    optimizer = made(kind, model.parameters(), CHECKED_RATE[kind])
    x, target = batch(problem)
    for _ in range(CHECKED_STEPS):
        optimizer.zero_grad()
        F.cross_entropy(model(x.double()), target).backward()  # type: ignore[no-untyped-call]  # torch declares no types
        optimizer.step()
    return [p.detach() for p in model.parameters()]


def checked(way: Way, problem: Problem, kind: str, precision: str, exact: list[Tensor]) -> float:
    """How far from the reference three steps are, as a share of the way; the rate is then little.

    Raises:
        RuntimeError: too far; its time would be that of another step.
    """
    way.set_rate(CHECKED_RATE[kind])
    for _ in range(CHECKED_STEPS):
        way.take()
    synchronize()
    way.set_rate(RATE)
    first = [p.double() for p in start(problem)]
    found = [p.detach().cpu().double() for p in way.parameters]
    error = max(
        float((own - right).norm() / (right - begin).norm())
        for own, right, begin in zip(found, exact, first, strict=True)
    )
    if not error < TOLERANCES[kind, precision]:
        raise RuntimeError(f"{CHECKED_STEPS} steps are {error:.1e} off")
    return error


HALF = torch.bfloat16
WAYS: dict[str, tuple[str, Callable[[Problem, str], Way]]] = {
    "engine": ("float32", engine),
    "engine, torch's operators": ("float32", lambda p, kind: engine(p, kind, triton="0")),
    "engine, Triton's kernels": ("float32", lambda p, kind: engine(p, kind, triton="1")),
    "nn.Sequential": ("float32", autograd),
    "nn.Sequential, fused": ("float32", lambda p, kind: autograd(p, kind, fused=True)),
    "nn.Sequential, fused, captured by hand": ("float32", captured_autograd),
    "engine, bf16": ("bfloat16", lambda p, kind: engine(p, kind, HALF)),
    "nn.Sequential, fused, autocast bf16": (
        "bfloat16",
        lambda p, kind: autograd(p, kind, HALF, fused=True),
    ),
}
AUTOTUNED: dict[str, tuple[str, Callable[[Problem, str], Way]]] = {
    "torch.compile max-autotune, fused": (
        "float32",
        lambda p, kind: autograd(p, kind, fused=True, compiled=True),
    ),
}


def measure(network: str, size: int, kind: str, ways: Any) -> None:
    """One network, batch and optimizer; a way that fails is told and left out."""
    problem = Problem(network, size)
    exact = reference(problem, kind)
    providers: dict[str, Any] = {"floor": OnDevice(floor(problem))}
    for provider, (precision, make) in ways.items():
        try:
            way = make(problem, kind)
            checked(way, problem, kind, precision, exact)
        except Exception as error:  # noqa: BLE001  the others are measured all the same
            print(f"  {network}, {size}, {kind}, {provider}: {type(error).__name__}: {error}")
            continue
        providers[provider] = OnDevice(way.take)
    seconds = compare(providers, ROUNDS)
    rows = gpu_rows.timed_rows(network, size, kind, seconds, "floor")
    has_floor = ways is WAYS  # the other part's stays beside the ways that it was measured with
    gpu_rows.keep("step", [row for row in rows if has_floor or row.provider != "floor"], KEY)


def main() -> None:
    """Measure, as long as there is time."""
    clock = Clock()
    is_compiled = sys.argv[1:] == ["compiled"]
    longest = 0.0
    for network, size in COMPILED if is_compiled else CASES:
        for kind in ("SGD", "Adam"):
            before = clock.left()
            if before < max(3.0, 1.5 * longest):
                print("  out of time")
                return
            measure(network, size, kind, AUTOTUNED if is_compiled else WAYS)
            longest = max(longest, before - clock.left())


if __name__ == "__main__":
    main()
