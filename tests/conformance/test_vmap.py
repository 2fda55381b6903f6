"""vmap over any axes of any of the inputs, beside nn.Linear and an activation."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functionalize, grad, hessian, jvp, vjp, vmap

from tests.conformance.layers import Layer, assert_alike, every_activation

SHAPES = ((3, 4), (2, 4), (2,))
DIMS = [
    dims
    for dims in product((0, -1, None), (0, 1, None), (0, -1, None))
    if any(dim is not None for dim in dims)
]
every_in_dims = pytest.mark.parametrize("dims", DIMS, ids=str)
SOME_DIMS = [(0, None, None), (None, 0, 0), (1, -1, 0), (None, None, 0), (None, 0, None), (0, 0, 0)]
KINDS = ("identity", "relu", "gelu")

# What torch says of its own logsigmoid.
pytestmark = pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")

Dims = tuple[int | None, ...]


def batched(dims: Dims, size: int = 5) -> list[Tensor]:
    """x, weight and bias, each with one more axis where `dims` has a number for it."""
    tensors = []
    for shape, dim in zip(SHAPES, dims, strict=True):
        full = list(shape)
        if dim is not None:
            full.insert(dim if dim >= 0 else len(full), size)
        tensors.append(torch.randn(full, dtype=torch.float64))
    return tensors


def call(layer: Layer, activation: str) -> Any:
    return lambda x, weight, bias: layer(x, weight, bias, activation)


@every_in_dims
@pytest.mark.parametrize("activation", KINDS)
def test_output_and_derivatives(activation: str, dims: Dims) -> None:
    """Output, gradient, tangent and cotangents under vmap are torch's."""

    def check(layer: Layer) -> Any:
        f = call(layer, activation)

        def everything(*given: Tensor) -> Any:
            energy = grad(lambda *at: f(*at).square().sum(), (0, 1, 2))
            made: Any = vjp(f, *given)
            _, pull = made
            return f(*given), energy(*given), jvp(f, given, given), pull(f(*given))

        return vmap(everything, in_dims=dims)(*batched(dims))

    assert_alike(check)


@every_in_dims
@pytest.mark.parametrize("activation", ["silu"])
def test_autograd_through_vmap(activation: str, dims: Dims) -> None:
    """Gradients and tangents taken outside of vmap, and twice, are torch's."""

    def check(layer: Layer) -> Any:
        tensors = [t.requires_grad_() for t in batched(dims)]
        mapped = vmap(call(layer, activation), in_dims=dims)
        first = torch.autograd.grad(mapped(*tensors).pow(3).sum(), tensors, create_graph=True)
        size = torch.stack([g.square().sum() for g in first]).sum()
        second = torch.autograd.grad(size, tensors)
        plain = tuple(t.detach() for t in tensors)
        return first, second, jvp(mapped, plain, plain)

    assert_alike(check)


@every_activation
def test_every_activation(activation: str) -> None:
    """Output, gradients and the weight's Hessian under vmap are torch's."""
    for dims in SOME_DIMS:

        def check(layer: Layer, dims: Dims = dims) -> Any:
            f = call(layer, activation)

            def everything(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
                energy = grad(lambda *at: f(*at).square().sum(), (0, 1, 2))
                bend = hessian(lambda at: f(x, at, bias).square().sum())(weight)
                return f(x, weight, bias), energy(x, weight, bias), bend

            return vmap(everything, in_dims=dims)(*batched(dims))

        assert_alike(check)


@pytest.mark.parametrize("out_dims", [0, 1, -1])
@pytest.mark.parametrize("chunk_size", [None, 2, 7])
@pytest.mark.parametrize("activation", KINDS)
def test_chunks_and_out_dims(activation: str, chunk_size: int | None, out_dims: int) -> None:
    """In chunks, and with the axis put elsewhere, the answers are torch's."""

    def check(layer: Layer) -> Any:
        dims = (0, None, 0)
        mapped = vmap(call(layer, activation), dims, out_dims, chunk_size=chunk_size)
        return mapped(*batched(dims))

    assert_alike(check)


@every_activation
def test_nested(activation: str) -> None:
    """Vmap in vmap: each sample with each of the weights, and gradients of that."""

    def check(layer: Layer) -> Any:
        x, weights = torch.randn(3, 4).double(), torch.randn(5, 2, 4).double()

        def value(x: Tensor, weight: Tensor) -> Tensor:
            output: Tensor = layer(x, weight, None, activation)
            return output

        pairs = vmap(vmap(value, (0, None)), (None, 0))
        slopes = vmap(
            vmap(grad(lambda *at: value(*at).square().sum(), (0, 1)), (0, None)), (None, 0)
        )
        return pairs(x, weights), slopes(x, weights)

    assert_alike(check)


@every_activation
def test_grad_of_vmap_of_grad(activation: str) -> None:
    """The gradient of the norms of per-sample gradients is torch's."""

    def check(layer: Layer) -> Any:
        x, weight, bias = batched((0, None, None))

        def norms(weight: Tensor) -> Tensor:
            def energy(weight: Tensor, x: Tensor) -> Tensor:
                value: Tensor = layer(x, weight, bias, activation).square().sum()
                return value

            slopes: Tensor = vmap(grad(energy), (None, 0))(weight, x)
            return slopes.square().sum()

        return grad(norms)(weight)

    assert_alike(check)


@every_activation
def test_functionalize(activation: str) -> None:
    """torch.func.functionalize of the layer, of its gradient and of its vmap changes nothing."""

    def check(layer: Layer) -> Any:
        tensors = batched((None, None, None))
        f = call(layer, activation)
        energy = grad(lambda *at: f(*at).square().sum(), (0, 1, 2))
        many = vmap(f, (0, None, None))
        return (
            functionalize(f)(*tensors),
            functionalize(energy)(*tensors),
            functionalize(many)(*tensors),
        )

    assert_alike(check)


@every_activation
def test_no_rows_and_no_samples(activation: str) -> None:
    """A batch of empty inputs, without and with gradients, has torch's shapes."""

    def check(layer: Layer) -> Any:
        x = torch.randn(3, 0, 4).double()
        _, weight, bias = batched((None, None, None))
        f = call(layer, activation)
        energy = grad(lambda *at: f(*at).square().sum(), (0, 1, 2))
        return vmap(f, (0, None, None))(x, weight, bias), vmap(energy, (0, None, None))(
            x, weight, bias
        )

    assert_alike(check)
