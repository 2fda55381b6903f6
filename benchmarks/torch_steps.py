"""One training step in torch, in every way that is compared. Each is built from the same start.

`floor` is the step's matrix products alone, torch.mm(out=) on the same shapes: x Wᵀ, δ W except
for the first layer, δᵀ a. No activation, loss, bias or SGD's update; a step can be below it only
where its products are faster than torch.mm. For Adam it is the products and the step of torch's
fused Adam on as many parameters, whose moments have to pass through memory.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  its name everywhere
from problem import Doubles, Problem
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from torchmlp import MLP, Engine

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam}
# So little that no run of a million steps goes anywhere; a step of Adam is as long as its rate.
TIMED_RATES = {"sgd": 1e-6, "adam": 1e-9}


@dataclass(frozen=True)
class Step:
    """A step that can be taken again and again.

    Attributes:
        take: takes it.
        parameters: W_1, b_1, ... as they are now.
        set_rate: sets η.
    """

    take: Callable[[], object]
    parameters: Callable[[], list[Tensor]]
    set_rate: Callable[[float], None]


def floor(problem: Problem) -> Step:
    """The matrix products, and Adam's sweep where it is the optimizer."""
    products = matrix_products(problem)
    if problem.optimizer == "sgd":
        return products
    parameters = [nn.Parameter(value) for value in start(problem)]
    for parameter in parameters:
        parameter.grad = torch.rand_like(parameter)
    optimizer = make_optimizer(problem, parameters, fused=True)

    def take() -> None:
        products.take()
        optimizer.step()

    return replace(products, take=take)


def matrix_products(problem: Problem) -> Step:
    """The matrix products alone."""
    x, _ = batch(problem)
    weights = [w for w in start(problem) if w.ndim > 1]
    products: list[tuple[Tensor, Tensor, Tensor]] = []
    a, inputs, outputs = x, [], []
    for weight in weights:
        z = torch.rand(len(x), len(weight))
        products.append((a, weight.t(), z))
        inputs.append(a)
        outputs.append(z)
        a = z
    for k in reversed(range(len(weights))):
        delta = torch.rand_like(outputs[k])
        if k:
            products.append((delta, weights[k], torch.empty_like(inputs[k])))
        products.append((delta.t(), inputs[k], torch.empty_like(weights[k])))

    def take() -> None:
        for left, right, out in products:
            torch.mm(left, right, out=out)

    return Step(take, lambda: weights, lambda _: None)


def engine(problem: Problem, *, native: bool) -> Step:
    """The step that this package takes."""
    sizes = problem.sizes
    model = MLP(sizes[0], sizes[1:-1], sizes[-1], activation="relu")
    load(model, problem)
    optimizer = make_optimizer(problem, model.parameters())
    steps = Engine(model, "cross_entropy", optimizer, native=native)
    x, target = batch(problem)
    return Step(
        lambda: steps.step(x, target), lambda: list(model.parameters()), _rate_of(optimizer)
    )


def autograd(problem: Problem, *, compiled: bool = False, **settings: bool) -> Step:
    """nn.Sequential, F.cross_entropy, backward(), the optimizer's step()."""
    model = sequential(problem)
    optimizer = make_optimizer(problem, model.parameters(), **settings)
    forward: Callable[[Tensor], Tensor] = model
    if compiled:
        forward = torch.compile(model, fullgraph=True, dynamic=False)
    x, target = batch(problem)

    def take() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(forward(x), target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    return Step(take, lambda: list(model.parameters()), _rate_of(optimizer))


def compiled_step(problem: Problem) -> Step:
    """Loss, torch.func's gradients and descent, or Adam, as one compiled function.

    In the form that was the fastest: called from C++ instead of Python, and without the guards.
    """
    parameters = start(problem)
    rate = torch.tensor(TIMED_RATES[problem.optimizer])
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    # 1 - 0.9 ** t is 0 to rounding in float32 where t is counted in it: the powers are kept.
    powers = torch.ones(2, dtype=torch.float64)
    betas = torch.tensor([0.9, 0.999], dtype=torch.float64)
    adam = problem.optimizer == "adam"

    def loss_of(parameters: list[Tensor], x: Tensor, target: Tensor) -> Tensor:
        last = len(parameters) // 2 - 1
        for k in range(last + 1):
            x = F.linear(x, parameters[2 * k], parameters[2 * k + 1])
            x = F.relu(x) if k < last else x
        return F.cross_entropy(x, target)

    def step(parameters: list[Tensor], x: Tensor, target: Tensor, rate: Tensor) -> Tensor:
        gradients, loss = torch.func.grad_and_value(loss_of)(parameters, x, target)
        if not adam:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(rate * gradient)
            return loss  # type: ignore[no-any-return]  # torch declares no types
        powers.mul_(betas)
        length = (rate / (1 - powers[0])).float()
        root = (1 - powers[1]).sqrt().float()
        for parameter, gradient, (mean, square) in zip(parameters, gradients, moments, strict=True):
            mean.lerp_(gradient, 0.1)
            square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            parameter.sub_(length * mean / (square.sqrt() / root + 1e-8))
        return loss  # type: ignore[no-any-return]

    unguarded = torch.compiler.skip_all_guards_unsafe
    options: dict[str, str | int | bool | Callable[..., Any]] = {
        "cpp_wrapper": True,
        "guard_filter_fn": unguarded,
    }
    compiled = torch.compile(step, fullgraph=True, dynamic=False, options=options)
    x, target = batch(problem)
    return Step(
        lambda: compiled(parameters, x, target, rate), lambda: parameters, lambda r: _fill(rate, r)
    )


ENGINES: dict[str, Callable[[Problem], Step]] = {
    "engine (C++)": lambda problem: engine(problem, native=True),
    "engine (torch)": lambda problem: engine(problem, native=False),
}
# By optimizer, as each is written in torch; without a word Adam is a loop over the parameters.
STEPS: dict[str, dict[str, Callable[[Problem], Step]]] = {
    "sgd": {
        "floor": floor,
        **ENGINES,
        "nn.Sequential + SGD": autograd,
        "nn.Sequential + fused SGD": lambda problem: autograd(problem, fused=True),
        "torch.compile(model) + fused SGD": lambda p: autograd(p, fused=True, compiled=True),
        "torch.compile(whole step)": compiled_step,
    },
    "adam": {
        "floor": floor,
        "matrix products": matrix_products,
        **ENGINES,
        "nn.Sequential + Adam": autograd,
        "nn.Sequential + foreach Adam": lambda problem: autograd(problem, foreach=True),
        "nn.Sequential + fused Adam": lambda problem: autograd(problem, fused=True),
        "torch.compile(whole step)": compiled_step,
    },
}
COMPILED = {"engine (C++)", "torch.compile(model) + fused SGD", "torch.compile(whole step)"}
UNCHECKED = {"floor", "matrix products"}  # no steps


def batch(problem: Problem) -> tuple[Tensor, Tensor]:
    """Its x and target."""
    return torch.from_numpy(problem.x), torch.from_numpy(problem.target)


def start(problem: Problem) -> list[Tensor]:
    """Copies of W_1, b_1, ..."""
    return [torch.from_numpy(array.copy()) for array in problem.start]


def load(model: nn.Module, problem: Problem) -> None:
    """Let the model's parameters be the problem's start."""
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), start(problem), strict=True):
            parameter.copy_(value)


def sequential(problem: Problem) -> nn.Sequential:
    """Its network."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(problem.sizes[:-1], problem.sizes[1:], strict=True):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    load(model, problem)
    return model


def make_optimizer(
    problem: Problem, parameters: Iterable[nn.Parameter], **settings: Any
) -> Optimizer:
    """The problem's, at the rate that is timed."""
    rate = TIMED_RATES[problem.optimizer]
    return OPTIMIZERS[problem.optimizer](parameters, lr=rate, **settings)


def reference(problem: Problem, rate: float, steps: int) -> list[Doubles]:
    """The parameters after so many steps: autograd and torch.optim in float64."""
    model = sequential(problem).double()
    optimizer = make_optimizer(problem, model.parameters(), foreach=False)
    _rate_of(optimizer)(rate)
    x, target = batch(problem)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x.double()), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return [parameter.detach().numpy() for parameter in model.parameters()]


def _fill(rate: Tensor, value: float) -> None:
    rate.fill_(value)


def _rate_of(optimizer: Optimizer) -> Callable[[float], None]:
    def set_rate(rate: float) -> None:
        optimizer.param_groups[0]["lr"] = rate

    return set_rate
