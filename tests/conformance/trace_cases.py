"""What the exporters and the tracers make of the package; a program of its own, see `program`."""

# mypy: allow-untyped-calls

import io
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch.aot_autograd import aot_function
from torch._functorch.compilers import nop
from torch.fx.experimental.proxy_tensor import make_fx

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
)
from tests.problems import ACTIVATION_NAMES
from torchmlp import dense


def exported(activation: str, kind: str, strict: bool) -> None:
    pair = Pair(activation, kind)
    x = torch.randn(3, 4, dtype=torch.float64)
    batch = torch.export.Dim("batch")
    program = torch.export.export(pair.ours, (x,), dynamic_shapes=({0: batch},), strict=strict)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    for made in (program, program.run_decompositions(), torch.export.load(buffer)):
        for rows in (3, 7):
            pair.check(made.module(), rows)
        assert set(made.state_dict) == set(pair.ours.state_dict())
    targets = {str(n.target) for n in program.graph.nodes if n.op == "call_function"}
    assert all(target.startswith("aten.") for target in targets), targets


def exported_for_training(activation: str) -> None:
    pair = Pair(activation, "MLP")
    x = torch.randn(3, 4, dtype=torch.float64)
    module = torch.export.export(pair.ours, (x,), strict=False).module()
    torch.autograd.backward([module(x).square().sum(), pair.theirs(x).square().sum()])
    grads = [p.grad for p in module.parameters()]
    same(grads, [p.grad for p in pair.theirs.parameters()])


def traced_by_make_fx(activation: str, mode: Any) -> None:
    def gradient(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: torch.autograd.grad(f(*given).square().sum(), given)

    def functional(f: Callable[..., Any]) -> Callable[..., Any]:
        return torch.func.grad(lambda *given: f(*given).square().sum(), (0, 1, 2))

    def tangent(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: torch.func.jvp(f, given, given)

    def mapped(f: Callable[..., Any]) -> Callable[..., Any]:
        return torch.func.vmap(functional(f), (0, None, None))

    programs = [lambda f: f, gradient, functional, tangent, mapped]
    if activation == "softsign":
        programs.remove(tangent)  # torch's own softsign does not trace
    for program in programs:
        given = tensors()
        if program is not gradient:
            given = tuple(t.detach() for t in given)
        graph = make_fx(program(layer(activation)), tracing_mode=mode)(*given)
        again = tuple(
            t.detach().requires_grad_(given[0].requires_grad)
            for t in tensors(6 if mode == "symbolic" else 3)
        )
        same(graph(*again), program(plain(activation))(*again))


def traced_by_fx(activation: str) -> None:
    for kind in ("Dense", "MLP"):
        pair = Pair(activation, kind)
        pair.check(torch.fx.symbolic_trace(nn.Sequential(pair.ours)))

    class Caller(nn.Module):
        def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return dense(x, weight, bias, activation) + 1

    graph = torch.fx.symbolic_trace(Caller())
    given = tensors()
    same(graph(*given), plain(activation)(*given) + 1)


def traced_by_jit(activation: str, kind: str) -> None:
    pair = Pair(activation, kind)
    traced = torch.jit.trace(pair.ours, torch.randn(3, 4, dtype=torch.float64))
    pair.check(traced)
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    for rows in (3, 6):
        pair.check(loaded, rows)


def by_aot_autograd(activation: str) -> None:
    given = tensors()
    traced = aot_function(layer(activation), nop, nop)
    actual, expected = traced(*given), plain(activation)(*given)
    same(actual, expected)
    same(torch.autograd.grad(actual.sum(), given), torch.autograd.grad(expected.sum(), given))


def network_exported(loss: str, strict: bool) -> None:
    module, expected = WithLoss(loss), WithLoss(loss, plainly=True)
    rows = {0: torch.export.Dim("rows")}
    program = torch.export.export(module, rows_of(loss), strict=strict, dynamic_shapes=(rows, rows))
    for made in (program, program.run_decompositions()):
        same(made.module()(*rows_of(loss, 7)), expected(*rows_of(loss, 7)))


def network_by_fx(loss: str) -> None:
    # Torch's own F.cross_entropy of a symbolic target does not trace.
    module, plainly = WithLoss(loss), WithLoss(loss, plainly=True)
    torch.fx.symbolic_trace(plainly)
    same(torch.fx.symbolic_trace(module)(*rows_of(loss)), plainly(*rows_of(loss)))


def network_traced(loss: str) -> None:
    module, plainly = WithLoss(loss), WithLoss(loss, plainly=True)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(module, rows_of(loss)), buffer)
    buffer.seek(0)
    same(torch.jit.load(buffer)(*rows_of(loss, 7)), plainly(*rows_of(loss, 7)))

    def gradient(of: nn.Module) -> Callable[..., Any]:
        return lambda *given: torch.autograd.grad(of(*given), [*of.parameters()])

    graph = make_fx(gradient(module), tracing_mode="symbolic", _allow_non_fake_inputs=True)(
        *rows_of(loss)
    )
    same(graph(*rows_of(loss, 7)), gradient(plainly)(*rows_of(loss, 7)))


FEW = ("identity", "relu", "gelu")
# A function, and the lists of arguments that it is called with.
TABLE: Table = [
    (exported, list(product(ACTIVATION_NAMES, ["Dense"], [False]))),
    (exported, list(product(KINDS, ["MLP"], [False]))),
    (exported, list(product(FEW, ["Dense", "MLP"], [True]))),
    (exported_for_training, list(product(KINDS))),
    (traced_by_make_fx, list(product(ACTIVATION_NAMES, ["symbolic"]))),
    (traced_by_make_fx, list(product(FEW, ["real", "fake"]))),
    (traced_by_fx, list(product(ACTIVATION_NAMES))),
    (traced_by_jit, list(product(ACTIVATION_NAMES, ["Dense", "MLP"]))),
    (by_aot_autograd, list(product(KINDS))),
    (network_exported, list(product(LOSSES, [True, False]))),
    (network_by_fx, list(product(["mse", "bce"]))),
    (network_traced, list(product(LOSSES))),
]
CASES = named(TABLE)


if __name__ == "__main__":
    main(CASES)
