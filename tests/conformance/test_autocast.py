"""Under autocast: dtypes, values and gradients are those of nn.Linear and an activation."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.conformance.layers import Layer, assert_alike, every_activation, gradients, inputs
from tests.oracles import FUNCTIONS
from tests.problems import ACTIVATION_NAMES, dtype_id
from torchmlp import MLP, Dense, network_loss

low_dtypes = pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=dtype_id)

# A few roundings of a 16-bit number, on values of order one.
CLOSE = {torch.bfloat16: 4e-2, torch.float16: 5e-3}


def close(low: torch.dtype) -> dict[str, Any]:
    return {"rtol": CLOSE[low], "atol": CLOSE[low]}


@low_dtypes
@every_activation
def test_dtypes_and_values(activation: str, low: torch.dtype) -> None:
    """From any floating dtype, output and gradients have torch's dtypes and values."""
    for given in (torch.float32, torch.float16, torch.bfloat16):

        def check(layer: Layer, given: torch.dtype = given) -> Any:
            tensors = [t.to(given).requires_grad_() for t in inputs(activation)]
            with torch.autocast("cpu", dtype=low):
                output = layer(*tensors, activation)
            return output, gradients(output, tensors)

        assert_alike(check, **close(torch.bfloat16 if torch.bfloat16 in (low, given) else low))


@low_dtypes
@every_activation
def test_backward_inside_the_region(activation: str, low: torch.dtype) -> None:
    """Backward in the region gives the gradients that torch gives there."""

    def check(layer: Layer) -> Any:
        tensors = [t.float().requires_grad_() for t in inputs(activation)]
        with torch.autocast("cpu", dtype=low):
            output = layer(*tensors, activation)
            return output, gradients(output, tensors)

    assert_alike(check, **close(low))


@every_activation
def test_double_is_left_alone(activation: str) -> None:
    """float64 stays float64, with gradients to the last bits."""

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, wanted="xwb")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = layer(*tensors, activation)
            return output, gradients(output, tensors)

    assert_alike(check)


@every_activation
def test_dtypes_that_differ_outside(activation: str) -> None:
    """A half input and float parameters meet in autocast's dtype, as they do in nn.Linear."""

    def check(layer: Layer) -> Any:
        x, weight, bias = (t.float() for t in inputs(activation))
        tensors = [x.half().requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = layer(*tensors, activation)
        return output, gradients(output, tensors)

    assert_alike(check, **close(torch.bfloat16))


@every_activation
def test_an_inner_region_that_is_off(activation: str) -> None:
    """Inside autocast(enabled=False) a float layer computes in float32 again."""

    def check(layer: Layer) -> Any:
        tensors = [t.float().requires_grad_() for t in inputs(activation)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outside = layer(*tensors, activation)
            with torch.autocast("cpu", enabled=False):
                inside = layer(*tensors, activation)
        assert inside.dtype == torch.float32
        return inside, gradients(inside, tensors), outside.dtype

    assert_alike(check, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cache", [True, False])
@low_dtypes
def test_a_weight_that_is_used_twice(low: torch.dtype, cache: bool) -> None:
    """With and without autocast's cache a shared weight gets the sum of both uses' gradients."""

    def check(layer: Layer) -> Any:
        x = torch.randn(3, 4, requires_grad=True)
        weight, bias = torch.randn(4, 4, requires_grad=True), torch.randn(4, requires_grad=True)
        with torch.autocast("cpu", dtype=low, cache_enabled=cache):
            output = layer(layer(x, weight, bias, "tanh"), weight, bias, "sigmoid")
            with torch.no_grad():
                again = layer(x, weight, bias, "tanh")
            output = output + layer(x, weight, bias, "tanh")
        return output, again, gradients(output, [x, weight, bias])

    assert_alike(check, **close(low))


@every_activation
def test_transforms(activation: str) -> None:
    """Tangents, cotangents and per-sample gradients under autocast are torch's."""

    def check(layer: Layer) -> Any:
        x, weight, bias = (t.float() for t in inputs(activation))

        def f(x: Tensor, weight: Tensor) -> Tensor:
            output: Tensor = layer(x, weight, bias, activation)
            return output

        def energy(weight: Tensor, x: Tensor) -> Tensor:
            return f(x, weight).float().square().sum()

        with torch.autocast("cpu", dtype=torch.bfloat16):
            return (
                torch.func.jvp(f, (x, weight), (x, weight)),
                torch.func.vjp(f, x, weight)[0],
                torch.func.vmap(torch.func.grad(energy), (None, 0))(weight, x),
            )

    assert_alike(check, rtol=6e-2, atol=6e-2)


@pytest.mark.parametrize("use_reentrant", [True, False])
@low_dtypes
def test_checkpoint_in_autocast(low: torch.dtype, use_reentrant: bool) -> None:
    """A recomputed layer is recomputed in autocast's dtype."""

    def check(layer: Layer) -> Any:
        tensors = [t.float().requires_grad_() for t in inputs("gelu")]
        with torch.autocast("cpu", dtype=low):
            output = checkpoint(
                lambda *given: layer(*given, "gelu"), *tensors, use_reentrant=use_reentrant
            )
        torch.autograd.backward(output.float().square().sum())
        return output, [t.grad for t in tensors]

    assert_alike(check, rtol=0.1, atol=0.1)


def network_of(activation: str, kind: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    if kind == "mlp":
        mlp = MLP(4, [6, 5], 3, activation)
        return mlp, mlp.to_sequential()
    ours = Dense(4, 3, activation=activation)
    linear = nn.Linear(4, 3)
    linear.load_state_dict(ours.state_dict())

    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear

        def forward(self, x: Tensor) -> Tensor:
            return FUNCTIONS[activation](self.linear(x))

    return ours, Theirs()


@low_dtypes
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_modules(activation: str, low: torch.dtype) -> None:
    """Modules under autocast: torch's output dtype and values, float32 gradients."""
    for kind in ("dense", "mlp"):
        ours, theirs = network_of(activation, kind)
        x = torch.randn(5, 4)
        answers = []
        for network in (ours, theirs):
            with torch.autocast("cpu", dtype=low):
                output = network(x)
            torch.autograd.backward(output.float().square().mean())
            answers.append((output, [p.grad for p in network.parameters()]))
        (output, grads), (their_output, their_grads) = answers
        torch.testing.assert_close(output, their_output, **close(low))
        for grad, their in zip(grads, their_grads, strict=True):
            assert grad is not None
            assert grad.dtype == torch.float32
            torch.testing.assert_close(grad, their, **close(low))


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce"])
@low_dtypes
def test_network_loss(low: torch.dtype, loss: str) -> None:
    """network_loss under autocast is the loss, in float32, of the network under autocast."""
    mlp = MLP(4, [6, 5], 3, "silu")
    theirs = mlp.to_sequential()
    x = torch.randn(5, 4)
    target = torch.rand(5, 3) if loss != "cross_entropy" else torch.randint(3, (5,))
    with torch.autocast("cpu", dtype=low):
        value = network_loss(x, target, mlp.weights, mlp.biases, mlp.activations, loss)
        output = theirs(x)
        expected = {
            "cross_entropy": lambda: nn.functional.cross_entropy(output, target),
            "mse": lambda: 0.5 * nn.functional.mse_loss(output, target, reduction="sum") / 5,
            "bce": lambda: (
                nn.functional.binary_cross_entropy_with_logits(output, target, reduction="sum") / 5
            ),
        }[loss]()
    assert value.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(value, expected, **close(low))
    torch.autograd.backward([value, expected])
    for mine, other in zip(mlp.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, **close(low))
