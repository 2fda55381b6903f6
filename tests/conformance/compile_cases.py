"""What Dynamo, the exporters and the tracers make of the package; a program of its own.

See `program`.
"""

# mypy: allow-untyped-calls

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops.map import map as map_
from torch._higher_order_ops.scan import scan
from torch.nn import functional as F  # noqa: N812
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.checkpoint import checkpoint

from tests.conformance.program import Table, main, named
from tests.conformance.subjects import (
    KINDS,
    LOSSES,
    Pair,
    WithLoss,
    layer,
    plain,
    rows_of,
    same,
    tensors,
    transforms,
)
from tests.problems import ACTIVATION_NAMES
from torchmlp import MLP, network_loss


def forward_and_backward(activation: str, backend: str) -> None:
    # Sizes that are known are a kind of graph of their own, whatever the activation.
    for dynamic in (None, True) if activation in KINDS else (True,):
        torch._dynamo.reset()
        compiled = torch.compile(
            layer(activation), backend=backend, fullgraph=True, dynamic=dynamic
        )
        for rows in (3, 5, 7) if dynamic else (3,):
            given = tensors(rows)
            output, expected = compiled(*given), plain(activation)(*given)
            same(output, expected)
            arriving = torch.randn_like(expected)
            same(
                torch.autograd.grad(output, given, arriving),
                torch.autograd.grad(expected, given, arriving),
            )


def frozen_inputs(activation: str) -> None:
    for wanted in ((0,), (1,), (2,), (0, 2)):
        torch._dynamo.reset()
        given = tuple(t.detach().requires_grad_(k in wanted) for k, t in enumerate(tensors()))
        leaves = [t for t in given if t.requires_grad]
        compiled = torch.compile(layer(activation), backend="aot_eager", fullgraph=True)
        actual, expected = compiled(*given).sum(), plain(activation)(*given).sum()
        same(torch.autograd.grad(actual, leaves), torch.autograd.grad(expected, leaves))


TRANSFORMS = tuple(transforms(plain("relu")))


def transform(name: str, activation: str, backend: str) -> None:
    torch._dynamo.reset()
    x, weight, bias = (t.detach() for t in tensors())
    compiled = torch.compile(transforms(layer(activation))[name], backend=backend, fullgraph=True)
    same(compiled(weight, x, bias), transforms(plain(activation))[name](weight, x, bias))


def double_backward(activation: str) -> None:
    """Compiled in pieces, since AOTAutograd takes no second derivatives: the gradients' program."""

    def second(f: Callable[..., Any]) -> Callable[..., Any]:
        def program(*given: Tensor) -> Any:
            first = torch.func.grad(lambda *at: f(*at).square().sum(), (0, 1, 2))
            return torch.func.grad(lambda *at: sum(g.square().sum() for g in first(*at)), 1)(*given)

        return program

    given = tuple(t.detach() for t in tensors())
    compiled = torch.compile(second(layer(activation)), backend="aot_eager", fullgraph=True)
    same(compiled(*given), second(plain(activation))(*given))


def compiled_module(activation: str, kind: str) -> None:
    torch._dynamo.reset()
    pair = Pair(activation, kind)
    compiled = torch.compile(pair.ours, fullgraph=True, backend="aot_eager")
    for rows in (3, 5, 8):
        x = torch.randn(rows, 4, dtype=torch.float64)
        torch._dynamo.mark_dynamic(x, 0)
        same(compiled(x), pair.theirs(x))
    pair.check(compiled)
    pair.ours.compile(backend="aot_eager", fullgraph=True)
    pair.check(pair.ours)


def network(loss: str, backend: str) -> None:
    torch._dynamo.reset()
    mlp = MLP(4, [6, 5], 3, "gelu", dtype=torch.float64)
    target = torch.rand(5, 3).double() if loss != "cross_entropy" else torch.randint(3, (5,))
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)

    def program(x: Tensor) -> Tensor:
        return network_loss(x, target, mlp.weights, mlp.biases, mlp.activations, loss)

    compiled = torch.compile(program, backend=backend, fullgraph=True)
    leaves = [x, *mlp.parameters()]
    actual, expected = compiled(x), program(x)
    same(actual, expected)
    same(torch.autograd.grad(actual, leaves), torch.autograd.grad(expected, leaves))


def per_sample_network() -> None:
    torch._dynamo.reset()
    mlp = MLP(4, [6], 3, "tanh", dtype=torch.float64)
    x, target = torch.randn(5, 4).double(), torch.randint(3, (5,))

    def of(parameters: dict[str, Tensor], x: Tensor, target: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(mlp, parameters, (x,))
        return F.cross_entropy(output, target)

    program = torch.func.vmap(torch.func.grad(of), (None, 0, 0))
    parameters = {name: p.detach() for name, p in mlp.named_parameters()}
    compiled = torch.compile(program, backend="aot_eager", fullgraph=True)
    same(compiled(parameters, x, target), program(parameters, x, target))


def in_a_region(region: str) -> None:
    torch._dynamo.reset()

    def program(f: Callable[..., Any]) -> Callable[..., Any]:
        def run(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
            if region == "checkpoint":
                return checkpoint(f, x, weight, bias, use_reentrant=False)
            if region == "no_grad":
                with torch.no_grad():
                    return f(x, weight, bias)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return f(x.float(), weight.float(), bias.float()).float()

        return run

    given = tensors()
    actual = torch.compile(program(layer("gelu")), backend="aot_eager", fullgraph=True)(*given)
    expected = program(plain("gelu"))(*given)
    assert actual.requires_grad == expected.requires_grad
    torch.testing.assert_close(actual, expected, rtol=2e-2, atol=2e-2)
    if actual.requires_grad:
        torch.testing.assert_close(
            torch.autograd.grad(actual.sum(), given),
            torch.autograd.grad(expected.sum(), given),
            rtol=5e-2,
            atol=5e-2,
        )


def control_flow(operator: str, activation: str) -> None:
    """Inside torch.cond, map and scan, where an operator's body is traced by itself."""

    mapped: Any = map_

    def program(f: Callable[..., Any]) -> Callable[..., Any]:
        def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            answer: Any
            if operator == "cond":
                answer = torch.cond(x.sum() > 0, f, lambda *at: 2 * f(*at), (x, weight, bias))
            elif operator == "map":
                answer = mapped(f, x, weight, bias)
            else:
                square = weight.t() @ weight
                answer, _ = scan(
                    lambda carry, row: (f(carry + row, square, None), carry.clone()),
                    x.new_zeros(4),
                    x,
                )
            output: Tensor = answer
            return output

        return run

    for wrap in (lambda f: f, lambda f: torch.compile(f, backend="aot_eager", fullgraph=True)):
        torch._dynamo.reset()
        given = tensors()
        wanted = given if operator != "scan" else given[:2]
        actual = wrap(program(layer(activation)))(*given)
        expected = program(plain(activation))(*given)
        same(actual, expected)
        same(torch.autograd.grad(actual.sum(), wanted), torch.autograd.grad(expected.sum(), wanted))


def compiled_backward(activation: str) -> None:
    """The backward pass alone, compiled by compiled autograd, eager and compiled forward."""
    for wrap in (lambda f: f, lambda f: torch.compile(f, backend="aot_eager", fullgraph=True)):
        torch._dynamo.reset()
        given, others = tensors(), tensors()
        compiler = torch.compile(backend="aot_eager", fullgraph=True)
        with torch._dynamo.compiled_autograd._enable(compiler):
            torch.autograd.backward(wrap(layer(activation))(*given).sum())
        torch.autograd.backward(plain(activation)(*others).sum())
        same([t.grad for t in given], [t.grad for t in others])


def wrapper_subclass(activation: str) -> None:
    for place in (0, 1):
        torch._dynamo.reset()
        given = [t.detach() for t in tensors()]
        wrapped: list[Any] = list(given)
        wrapped[place] = TwoTensor(given[place], given[place].clone())
        leaves = [t.requires_grad_() for t in wrapped]
        actual = torch.compile(layer(activation), backend="aot_eager", fullgraph=True)(*leaves)
        found = torch.autograd.grad(actual.sum(), leaves)
        plain_leaves = [t.clone().requires_grad_() for t in given]
        expected = plain(activation)(*plain_leaves)
        same(actual.detach().a, expected)
        for mine, other in zip(
            found, torch.autograd.grad(expected.sum(), plain_leaves), strict=True
        ):
            same(getattr(mine, "a", mine), other)


def network_of_any_size(loss: str) -> None:
    torch._dynamo.reset()
    module, plainly = WithLoss(loss), WithLoss(loss, plainly=True)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=True)
    for rows in (5, 7, 9):
        both = [of(*rows_of(loss, rows)) for of in (compiled, plainly)]
        same(*both)
        found, expected = (
            torch.autograd.grad(value, [*of.parameters()])
            for value, of in zip(both, (module, plainly), strict=True)
        )
        same(found, expected)


def network_per_sample(loss: str) -> None:
    torch._dynamo.reset()
    found = []
    for module in (WithLoss(loss), WithLoss(loss, plainly=True)):
        parameters = {name: p.detach() for name, p in module.named_parameters()}

        def value(parameters: Any, x: Tensor, target: Tensor, of: nn.Module = module) -> Tensor:
            answer: Tensor = torch.func.functional_call(of, parameters, (x, target))
            return answer

        program: Any = torch.func.vmap(torch.func.grad(value), (None, 0, 0))
        if isinstance(module.network, MLP):
            program = torch.compile(program, backend="aot_eager", fullgraph=True)
        found.append(list(program(parameters, *rows_of(loss)).values()))
    same(*found)


def no_recompilation() -> None:
    """Another value, another gradient and another layer of one size are one graph."""
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer("gelu"), backend=counter, fullgraph=True)
    for _ in range(3):
        torch.autograd.backward(compiled(*tensors()).sum())
    assert counter.frame_count == 1


def two_layers_per_sample(transform: str) -> None:
    torch._dynamo.reset()
    x, weight, bias = (t.detach() for t in tensors())

    def energy(f: Callable[..., Any]) -> Callable[..., Tensor]:
        def value(weight: Tensor, x: Tensor) -> Tensor:
            answer: Tensor = f(f(x, weight, bias), weight[:, :2], None).square().sum()
            return answer

        return value

    func = torch.func
    derive: Any = {
        "grad": lambda f: func.vmap(func.grad(f, (0, 1)), (None, 0)),
        "jacrev": lambda f: func.vmap(func.jacrev(f), (None, 0)),
        "norms": lambda f: func.grad(
            lambda w, x: func.vmap(func.grad(f), (None, 0))(w, x).square().sum()
        ),
    }[transform]
    compiled = torch.compile(derive(energy(layer("tanh"))), backend="aot_eager", fullgraph=True)
    same(compiled(weight, x), derive(energy(plain("tanh")))(weight, x))


def mistakes_under_compile() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(layer("relu"), backend="aot_eager")
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(2, 5\)"):
        compiled(torch.ones(2, 5), torch.ones(3, 4), None)


# A function, and the lists of arguments that it is called with.
TABLE: Table = [
    (forward_and_backward, list(product(ACTIVATION_NAMES, ["aot_eager"]))),
    (forward_and_backward, list(product(KINDS, ["inductor"]))),
    (frozen_inputs, list(product(KINDS))),
    (double_backward, list(product(KINDS))),
    (transform, list(product(["per-sample gradients"], KINDS, ["aot_eager"]))),
    (transform, list(product(TRANSFORMS[1:], ["relu", "gelu"], ["aot_eager"]))),
    (transform, [("per-sample gradients", "gelu", "inductor")]),
    (two_layers_per_sample, list(product(["grad", "jacrev", "norms"]))),
    (compiled_module, list(product(KINDS, ["Dense", "MLP"]))),
    (network, list(product(LOSSES, ["aot_eager"]))),
    (network, [("cross_entropy", "inductor")]),
    (per_sample_network, [()]),
    (in_a_region, list(product(["checkpoint", "no_grad", "autocast"]))),
    (control_flow, list(product(["cond", "map", "scan"], ["gelu"]))),
    (control_flow, [("cond", "identity"), ("scan", "relu")]),
    (compiled_backward, list(product(KINDS))),
    (wrapper_subclass, list(product(KINDS))),
    (network_of_any_size, list(product(LOSSES))),
    (network_per_sample, list(product(LOSSES))),
    (no_recompilation, [()]),
    (mistakes_under_compile, [()]),
]
CASES = named(TABLE)


if __name__ == "__main__":
    main(CASES)
