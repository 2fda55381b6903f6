"""torch.func's transforms, alone and nested, beside those of nn.Linear and an activation."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    stack_module_state,
    vjp,
    vmap,
)

from tests.conformance.layers import (
    COMPLEX_NAMES,
    Layer,
    assert_alike,
    every_activation,
    inputs,
    linear_then,
    with_and_without_bias,
)
from torchmlp import MLP, Dense

# What torch says of its own logsigmoid under vmap.
NOISY = pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")

ORDERS = [("vjp", "vjp"), ("vjp", "jvp"), ("jvp", "vjp"), ("jvp", "jvp")]

# Torch's own tests of an operator name a nesting by its transforms, the outermost first.
NESTINGS: dict[str, Callable[[Any], Any]] = {
    "jacfwd": jacfwd,
    "jacrev": jacrev,
    "jacfwd-jacfwd": lambda f: jacfwd(jacfwd(f)),
    "jacfwd-jacrev": lambda f: jacfwd(jacrev(f)),
    "jacrev-jacfwd": lambda f: jacrev(jacfwd(f)),
    "jacrev-jacrev": lambda f: jacrev(jacrev(f)),
    "hessian": hessian,
    "grad-grad": lambda f: grad(lambda at: grad(f)(at).square().sum()),
    "jacfwd-jacfwd-jacfwd": lambda f: jacfwd(jacfwd(jacfwd(f))),
    "jacrev-jacfwd-jacfwd": lambda f: jacrev(jacfwd(jacfwd(f))),
    "grad-jacfwd-jacrev": lambda f: jacfwd(lambda at: jacrev(jacfwd(f))(at).square().sum()),
}


def energy(layer: Layer, tensors: list[Tensor], place: int, activation: str) -> Any:
    """A scalar function of one of the layer's tensors."""

    def value(at: Tensor) -> Tensor:
        given = [*tensors[:place], at, *tensors[place + 1 :]]
        answer: Tensor = layer(*given, activation).pow(2).sum()
        return answer

    return value


@pytest.mark.parametrize("nesting", NESTINGS)
@every_activation
def test_nested(activation: str, nesting: str) -> None:
    """Derivatives of derivatives by x, weight and bias, in any order of modes, are torch's."""

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, (2,), 3, 2)
        derive = NESTINGS[nesting]
        return [derive(energy(layer, tensors, k, activation))(t) for k, t in enumerate(tensors)]

    assert_alike(check, rtol=1e-8, atol=1e-9)


Function = Callable[..., Tensor]


def _vjp(f: Function, primals: tuple[Tensor, ...], cotangent: Tensor) -> Any:
    answer: Any = vjp(f, *primals)
    output, pull = answer
    return output, pull(cotangent)


def _jvp(f: Function, primals: tuple[Tensor, ...]) -> Any:
    return jvp(f, primals, tuple(map(torch.cos, primals)))


def composed(outer: str, inner: str, f: Function, primals: tuple[Tensor, ...], ct: Tensor) -> Any:
    """Apply a product of one mode to a product of the other; both as functions of the inputs."""

    def product(*given: Tensor) -> Tensor:
        answer: Any = _vjp(f, given, ct) if inner == "vjp" else _jvp(f, given)
        flat = [answer[0], *(answer[1] if inner == "vjp" else answer[1:])]
        return torch.cat([t.flatten() for t in flat])

    if outer == "vjp":
        made: Any = vjp(product, *primals)
        output, pull = made
        return output, pull(output.cos())
    return _jvp(product, primals)


@with_and_without_bias
@every_activation
def test_products_of_products(activation: str, bias: bool) -> None:
    """Vjp and jvp of vjp and jvp, with respect to all inputs at once, are torch's."""

    def check(layer: Layer) -> Any:
        tensors = tuple(inputs(activation, bias=bias))
        cotangent = torch.randn(3, 2, dtype=torch.float64)

        def f(*given: Tensor) -> Tensor:
            x, weight, *rest = given
            output: Tensor = layer(x, weight, rest[0] if rest else None, activation)
            return output

        return [composed(outer, inner, f, tensors, cotangent) for outer, inner in ORDERS]

    assert_alike(check)


@NOISY
@every_activation
def test_vmap_of_products_of_products(activation: str) -> None:
    """The same under vmap, with every input batched: torch's vmapvjpvjp, vmapjvpvjp and so on."""

    def check(layer: Layer) -> Any:
        batches = [inputs(activation) for _ in range(2)]
        tensors = [torch.stack(pair) for pair in zip(*batches, strict=True)]
        cotangent = torch.randn(3, 2, dtype=torch.float64)

        def f(*given: Tensor) -> Tensor:
            output: Tensor = layer(*given, activation)
            return output

        return [
            vmap(lambda *given: composed(outer, inner, f, given, cotangent))(*tensors)  # noqa: B023
            for outer, inner in ORDERS
        ]

    assert_alike(check)


@pytest.mark.parametrize("activation", COMPLEX_NAMES)
def test_complex_transforms(activation: str) -> None:
    """Vjp and jvp of complex layers, also under vmap, are torch's."""

    def check(layer: Layer) -> Any:
        x, weight, bias = inputs(dtype=torch.complex128)

        def f(weight: Tensor) -> Tensor:
            output: Tensor = layer(x, weight, bias, activation)
            return output

        made: Any = vjp(f, weight)
        _, pull = made
        many = vmap(lambda weight: jvp(f, (weight,), (weight.cos(),)))
        return pull(x[:, :2]), jvp(f, (weight,), (weight,)), many(torch.stack([weight, 2 * weight]))

    assert_alike(check)


# What torch says of its own linearize, of nn.Linear as well.
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")
@every_activation
def test_linearize(activation: str) -> None:
    """The linear function that linearize gives is torch's, for several tangents."""

    def check(layer: Layer) -> Any:
        tensors = tuple(inputs(activation))
        output, push = linearize(lambda *given: layer(*given, activation), *tensors)
        return output, push(*tensors), push(*(t.cos() for t in tensors))

    assert_alike(check)


@every_activation
def test_higher_order_without_functorch(activation: str) -> None:
    """Tangents inside grad, grad inside tangents, and values with has_aux are torch's."""

    def check(layer: Layer) -> Any:
        x, weight, bias = inputs(activation)

        def with_aux(weight: Tensor) -> tuple[Tensor, Tensor]:
            output: Tensor = layer(x, weight, bias, activation)
            return output.square().sum(), output

        return grad_and_value(with_aux, has_aux=True)(weight), jacrev(with_aux, has_aux=True)(
            weight
        )

    assert_alike(check)


def chain(activation: str) -> nn.Sequential:
    return nn.Sequential(Dense(4, 5, activation=activation), Dense(5, 2)).double()


def plain(network: nn.Sequential, activation: str) -> Callable[..., Tensor]:
    """What the chain computes, as a function of its named parameters and its input."""

    def call(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        hidden = linear_then(x, parameters["0.weight"], parameters["0.bias"], activation)
        output: Tensor = linear_then(hidden, parameters["1.weight"], parameters["1.bias"])
        return output

    assert set(dict(network.named_parameters())) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    return call


@every_activation
def test_per_sample_gradients_of_a_network(activation: str) -> None:
    """vmap(grad(functional_call)) gives each sample's own gradient."""
    network = chain(activation)
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    x, target = torch.randn(6, 4).double(), torch.randn(6, 2).double()

    def loss(parameters: dict[str, Tensor], x: Tensor, target: Tensor) -> Tensor:
        output: Tensor = functional_call(network, parameters, (x,))
        return (output - target).square().sum()

    together = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, target)
    chunked = vmap(grad(loss), in_dims=(None, 0, 0), chunk_size=4)(parameters, x, target)
    for k in range(6):
        leaves = {name: p.clone().requires_grad_() for name, p in parameters.items()}
        value = (plain(network, activation)(leaves, x[k]) - target[k]).square().sum()
        for name, own in zip(leaves, torch.autograd.grad(value, [*leaves.values()]), strict=True):
            torch.testing.assert_close(together[name][k], own)
            torch.testing.assert_close(chunked[name][k], own)


@every_activation
def test_an_ensemble(activation: str) -> None:
    """Networks stacked with stack_module_state answer and learn under vmap as one by one."""
    networks = [chain(activation) for _ in range(3)]
    parameters, buffers = stack_module_state(networks)
    x = torch.randn(6, 4).double()

    def call(parameters: Any, buffers: Any) -> Tensor:
        output: Tensor = functional_call(networks[0], (parameters, buffers), (x,))
        return output

    outputs = vmap(call)(parameters, buffers)
    torch.autograd.backward(outputs.square().sum())
    for k, network in enumerate(networks):
        output = plain(network, activation)(dict(network.named_parameters()), x)
        torch.testing.assert_close(outputs[k], output)
        torch.autograd.backward(output.square().sum())
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(parameters[name].grad[k], parameter.grad)


@every_activation
def test_hessian_of_a_network(activation: str) -> None:
    """An MLP's Hessian with respect to all its parameters is that of its plain sequential."""
    mlp = MLP(3, [3], 2, activation, "tanh", dtype=torch.float64)
    x = torch.randn(2, 3).double()

    def energy_of(network: nn.Module) -> Callable[[dict[str, Tensor]], Any]:
        return lambda parameters: functional_call(network, parameters, (x,)).square().sum()

    for transform in ("jacfwd-jacfwd", "jacfwd-jacrev", "jacrev-jacrev"):
        ours = dict(mlp.named_parameters())
        theirs = dict(mlp.to_sequential().named_parameters())
        actual = NESTINGS[transform](energy_of(mlp))(ours)
        expected = NESTINGS[transform](energy_of(mlp.to_sequential()))(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            for my_other, other_other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(
                    actual[mine][my_other], expected[other][other_other], rtol=1e-8, atol=1e-10
                )
