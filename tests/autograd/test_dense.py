"""dense() against finite differences, nn.Linear and the rules of autograd."""

import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from tests.oracles import FUNCTIONS, MODULES
from tests.problems import (
    ACTIVATION_NAMES,
    DTYPES,
    assert_elementwise,
    assert_product,
    dtype_id,
    network_problem,
)
from tests.strategies import Arguments, dense_arguments
from torchmlp.autograd import DenseFunction, dense
from torchmlp.kernels.activations import ACTIVATIONS

every_activation = pytest.mark.parametrize("activation", ACTIVATION_NAMES)
with_and_without_bias = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
ranks = pytest.mark.parametrize("batch", [(), (3,), (2, 2)], ids=["none", "one", "two"])

# One of each kind: what φ' reads, and how it is written.
KINDS = ("identity", "relu", "tanh", "gelu", "hardswish")

# On inputs of order one. The defaults of gradcheck accept a gradient that is 0.1 % wrong.
STRICT: dict[str, Any] = {"rtol": 0.0, "atol": 1e-7}


def arguments(
    activation: str, batch: tuple[int, ...] = (3,), *, bias: bool = True
) -> tuple[Tensor, ...]:
    """x, weight and bias, of order one, away from the kinks, all wanting a gradient."""
    problem = network_problem(activation, "mse", batch=batch, widths=(3, 2), bias=bias)
    return tuple(problem.wanting_gradients().leaves[: 3 if bias else 2])


def dense_of(
    inputs: Sequence[Tensor], activation: str = "identity", *, average: bool = False
) -> Tensor:
    """dense() of x, weight and, where there is one, bias."""
    x, weight, *bias = inputs
    return dense(x, weight, bias[0] if bias else None, activation, average=average)


def reference(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    return FUNCTIONS[activation](F.linear(x, weight, bias))


@ranks
@with_and_without_bias
@every_activation
def test_gradcheck(activation: str, bias: bool, batch: tuple[int, ...]) -> None:
    """Reverse mode, forward mode and batched gradients are the finite differences, to 1e-7."""
    assert gradcheck(
        lambda *inputs: dense_of(inputs, activation),
        arguments(activation, batch, bias=bias),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
        **STRICT,
    )


@ranks
@with_and_without_bias
@every_activation
def test_gradgradcheck(activation: str, bias: bool, batch: tuple[int, ...]) -> None:
    """The gradients' own gradients are the finite differences, to 1e-7."""
    assert gradgradcheck(
        lambda *inputs: dense_of(inputs, activation),
        arguments(activation, batch, bias=bias),
        **STRICT,
    )


@every_activation
def test_gradgradcheck_in_mixed_modes(activation: str) -> None:
    """Forward mode over reverse mode and batched second derivatives hold as well."""
    assert gradgradcheck(
        lambda *inputs: dense_of(inputs, activation),
        arguments(activation, (2,)),
        check_fwd_over_rev=True,
        check_batched_grad=True,
        **STRICT,
    )


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "silu", "gelu", "softplus", "mish"])
def test_third_order(activation: str) -> None:
    """Third derivatives are those that autograd takes of torch's own formula."""

    def third(layer: Callable[..., Tensor]) -> Tensor:
        x, weight, bias = (tensor.detach().requires_grad_() for tensor in arguments(activation))
        value = layer(x, weight, bias, activation).pow(2).sum()
        for _ in range(3):
            (gradient,) = torch.autograd.grad(value, x, create_graph=True)
            value = gradient.pow(2).sum()
        return gradient.detach()

    def by_formula(x: Tensor, weight: Tensor, bias: Tensor, _: str) -> Tensor:
        # torch's own silu, gelu and mish stop at the second derivative.
        z = F.linear(x, weight, bias)
        return {
            "tanh": lambda: torch.tanh(z),
            "sigmoid": lambda: torch.sigmoid(z),
            "silu": lambda: z / (1 + torch.exp(-z)),
            "gelu": lambda: 0.5 * z * (1 + torch.erf(z / 2**0.5)),
            "softplus": lambda: torch.log(1 + torch.exp(z)),
            "mish": lambda: z * torch.tanh(torch.log(1 + torch.exp(z))),
        }[activation]()

    torch.manual_seed(5)
    actual = third(dense)
    torch.manual_seed(5)
    expected = third(by_formula)
    assert expected.abs().max() > 1e-5
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11)


@given(dense_arguments())
def test_any_shape_and_layout(given_arguments: Arguments) -> None:
    """Output and gradients are nn.Linear's for any shape, layout and number of rows."""
    x, weight, bias, delta = given_arguments
    inputs = [
        tensor.detach().requires_grad_() for tensor in (x, weight, bias) if tensor is not None
    ]
    actual, expected = dense_of(inputs), F.linear(*inputs)
    assert_product(actual, expected)
    pairs = zip(
        torch.autograd.grad(actual, inputs, delta),
        torch.autograd.grad(expected, inputs, delta),
        strict=True,
    )
    for gradient, theirs in pairs:
        assert_product(gradient, theirs)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_activation
def test_equals_linear_and_activation(activation: str, dtype: torch.dtype) -> None:
    """Output and all gradients are those of nn.Linear and the activation, to the last bits."""
    linear = nn.Linear(20, 12, dtype=dtype)
    network = nn.Sequential(linear, MODULES[activation]())
    x = torch.randn(30, 20).to(dtype).requires_grad_()
    inputs = (x, linear.weight, linear.bias)
    actual, expected = dense_of(inputs, activation), network(x)
    assert_elementwise(actual, expected)
    grad_output = torch.randn(30, 12).to(dtype)
    theirs = torch.autograd.grad(expected, inputs, grad_output)
    if dtype in (torch.bfloat16, torch.float16):
        # One rounding in φ' moves a whole sum of 30 products: compare with the answer in float64.
        wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
        value = reference(wide[0], wide[1], wide[2], activation)
        exact = torch.autograd.grad(value, wide, grad_output.double())
        for gradient, their, real in zip(
            torch.autograd.grad(actual, inputs, grad_output), theirs, exact, strict=True
        ):
            error, their_error = ((g.double() - real).norm() for g in (gradient, their))
            assert error <= 1.2 * their_error + torch.finfo(dtype).eps * real.norm()
        return
    for gradient, their in zip(
        torch.autograd.grad(actual, inputs, grad_output), theirs, strict=True
    ):
        assert_product(gradient, their)


@every_activation
def test_average_divides_the_parameters_gradients(activation: str) -> None:
    """`average=True` is the sum's gradient over the rows for W and b, and leaves x's alone."""
    inputs = arguments(activation, (2, 3))
    grad_output = torch.randn(2, 3, 2, dtype=torch.float64)
    sums = torch.autograd.grad(dense_of(inputs, activation), inputs, grad_output)
    averages = torch.autograd.grad(dense_of(inputs, activation, average=True), inputs, grad_output)
    assert torch.equal(averages[0], sums[0])
    assert_product(averages[1], sums[1] / 6)
    assert_product(averages[2], sums[2] / 6)


@pytest.mark.parametrize("batch", [(), (0,)], ids=str)
def test_average_of_one_row_and_of_none(batch: tuple[int, ...]) -> None:
    """An unbatched input is one row; no rows at all give zeros and not 0/0."""
    inputs = arguments("tanh", batch)
    sums = torch.autograd.grad(dense_of(inputs, "tanh").sum(), inputs)
    averages = torch.autograd.grad(dense_of(inputs, "tanh", average=True).sum(), inputs)
    assert all(torch.equal(a, s) for a, s in zip(averages, sums, strict=True))
    assert all(a.isfinite().all() for a in averages)


def multiplications(function: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    total: int = counter.get_total_flops()
    return total


@pytest.mark.parametrize(
    ("wanted", "products"),
    [("x", 1), ("weight", 1), ("bias", 0), ("x weight", 2), ("x weight bias", 2), ("x bias", 1)],
)
@pytest.mark.parametrize("activation", KINDS)
def test_no_product_for_what_wants_no_gradient(activation: str, wanted: str, products: int) -> None:
    """Backward spends one matrix product per gradient that is wanted, and none beside."""
    inputs = dict(zip(("x", "weight", "bias"), arguments(activation, (8,)), strict=True))
    for name, tensor in inputs.items():
        tensor.requires_grad_(name in wanted.split())
    output = dense_of(list(inputs.values()), activation).sum()
    one = 2 * 8 * 3 * 2
    assert multiplications(output.backward) == products * one
    assert [name for name, tensor in inputs.items() if tensor.grad is not None] == wanted.split()


def test_no_node_where_nothing_wants_a_gradient() -> None:
    """Without a gradient to compute, or under no_grad, the output has no history."""
    x, weight, bias = arguments("gelu")
    assert dense(x.detach(), weight.detach(), bias.detach(), "gelu").grad_fn is None
    with torch.no_grad():
        assert dense(x, weight, bias, "gelu").grad_fn is None


def kept_bytes(function: Callable[[], Tensor]) -> int:
    """Bytes of the different storages that a forward pass keeps for the backward pass."""
    storages: dict[int, int] = {}
    alive = []

    def pack(tensor: Tensor) -> Tensor:
        alive.append(tensor)  # so that no address is used twice
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = function()
    assert output.requires_grad
    return sum(storages.values())


@with_and_without_bias
@every_activation
def test_keeps_no_more_than_linear(activation: str, bias: bool) -> None:
    """What is kept for backward is not above what nn.Linear and the activation keep."""
    linear = nn.Linear(32, 16, bias)
    network = nn.Sequential(linear, MODULES[activation]())
    x = torch.randn(64, 32, requires_grad=True)
    ours = kept_bytes(lambda: dense(x, linear.weight, linear.bias, activation))
    theirs = kept_bytes(lambda: network(x))
    assert 0 < ours <= theirs


@pytest.mark.parametrize("activation", KINDS)
def test_output_is_freed_at_once(activation: str) -> None:
    """The node and its output hold no cycle: memory goes without the garbage collector."""
    gc.disable()
    try:
        output = dense_of(arguments(activation), activation)
        alive = weakref.ref(output)
        del output
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("activation", KINDS)
@pytest.mark.parametrize("index", [0, 1], ids=["x", "weight"])
def test_a_change_in_place_is_noticed(index: int, activation: str) -> None:
    """Backward refuses an input that was overwritten after the forward pass."""
    inputs = arguments(activation)
    output = dense_of(inputs, activation).sum()
    with torch.no_grad():
        inputs[index].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(output)


def test_backward_twice() -> None:
    """With retain_graph the same gradients come twice; without, torch's own error."""
    x, weight, bias = arguments("gelu")
    output = dense(x, weight, bias, "gelu").sum()
    torch.autograd.backward(output, retain_graph=True)
    assert weight.grad is not None
    first = weight.grad.clone()
    torch.autograd.backward(output)
    assert torch.equal(weight.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.backward(output)


def test_gradients_are_no_views_of_one_another() -> None:
    """Writing into one gradient changes no other and not the gradient that arrived."""
    inputs = arguments("identity", ())
    grad_output = torch.ones(2, dtype=torch.float64)
    gradients = torch.autograd.grad(dense_of(inputs), inputs, grad_output)
    for gradient in gradients[:2]:
        gradient.zero_()
    assert torch.equal(grad_output, torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("activation", KINDS)
def test_forward_mode_of_each_input_alone(activation: str) -> None:
    """A tangent on x, weight or bias alone gives torch's directional derivative."""
    inputs = tuple(tensor.detach() for tensor in arguments(activation, (2, 3)))
    for k, tensor in enumerate(inputs):
        tangent = torch.randn_like(tensor)

        def along(layer: Any, k: int = k) -> Callable[[Tensor], Tensor]:
            return lambda at: layer(*inputs[:k], at, *inputs[k + 1 :], activation)

        actual = torch.func.jvp(along(dense), (tensor,), (tangent,))
        expected = torch.func.jvp(along(reference), (tensor,), (tangent,))
        assert_product(actual[0], expected[0])
        assert_product(actual[1], expected[1])


@pytest.mark.parametrize("activation", KINDS)
def test_vmap(activation: str) -> None:
    """Vmap over weights, over x, over both, and over per-sample gradients, is a loop."""
    x, weight, bias = (tensor.detach() for tensor in arguments(activation, (4,)))
    weights, biases = torch.randn(5, 2, 3).double(), torch.randn(5, 2).double()

    def layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return dense(x, weight, bias, activation)

    many = torch.func.vmap(layer, in_dims=(None, 0, 0))(x, weights, biases)
    for k in range(5):
        assert_product(many[k], reference(x, weights[k], biases[k], activation))
    rows = torch.func.vmap(layer, in_dims=(0, None, None))(x, weight, bias)
    assert_product(rows, reference(x, weight, bias, activation))

    def gradient(function: Any) -> Callable[..., Any]:
        return torch.func.grad(lambda *inputs: function(*inputs, activation).sum(), (0, 1, 2))

    per_sample = torch.func.vmap(gradient(dense), in_dims=(0, None, None))(x, weight, bias)
    expected = torch.func.vmap(gradient(reference), in_dims=(0, None, None))(x, weight, bias)
    for actual, theirs in zip(per_sample, expected, strict=True):
        assert_product(actual, theirs)


@pytest.mark.parametrize("activation", ["tanh", "silu", "softplus"])
def test_hessian(activation: str) -> None:
    """torch.func's forward-over-reverse and reverse-over-reverse Hessians are torch's."""
    x, weight, bias = (tensor.detach() for tensor in arguments(activation, (4,)))

    def energy(layer: Any) -> Callable[[Tensor], Tensor]:
        return lambda weight: layer(x, weight, bias, activation).square().sum()

    expected = torch.func.hessian(energy(reference))(weight)
    assert_product(torch.func.hessian(energy(dense))(weight), expected)
    twice = torch.func.jacrev(torch.func.jacrev(energy(dense)))(weight)
    assert_product(twice, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=dtype_id)
@pytest.mark.parametrize("activation", KINDS)
def test_autocast_is_linears(activation: str, dtype: torch.dtype) -> None:
    """Under autocast output and gradients have nn.Linear's dtypes and values."""
    linear = nn.Linear(6, 4)
    x = torch.randn(5, 6, requires_grad=True)
    inputs = (x, linear.weight, linear.bias)
    with torch.autocast("cpu", dtype=dtype):
        actual, expected = dense_of(inputs, activation), FUNCTIONS[activation](linear(x))
    assert actual.dtype == dtype
    assert_elementwise(actual, expected.to(dtype))
    gradients = torch.autograd.grad(actual.float().sum(), inputs)
    theirs = torch.autograd.grad(expected.float().sum(), inputs)
    for gradient, their in zip(gradients, theirs, strict=True):
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient, their, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_autocast_leaves_float64_alone() -> None:
    """float64 stays float64 under autocast, as nn.Linear leaves it."""
    inputs = arguments("relu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert dense_of(inputs, "relu").dtype == F.linear(*inputs).dtype == torch.float64
        assert gradcheck(lambda *given: dense_of(given, "relu"), inputs, **STRICT)


def test_on_the_meta_device() -> None:
    """A device without autocast will do: shapes are worked out where no memory is."""
    output = dense(torch.empty(5, 3, device="meta"), torch.empty(2, 3, device="meta"))
    assert output.shape == (5, 2)
    assert output.device.type == "meta"


def test_on_a_gpu(gpu: torch.device) -> None:
    """On a GPU output and gradients are the CPU's."""
    for activation in ACTIVATION_NAMES:
        inputs = arguments(activation, (2, 3))
        moved = tuple(tensor.detach().to(gpu).requires_grad_() for tensor in inputs)
        output, there = dense_of(inputs, activation), dense_of(moved, activation)
        torch.testing.assert_close(there.cpu(), output, rtol=1e-12, atol=1e-12)
        for here, away in zip(
            torch.autograd.grad(output.sum(), inputs),
            torch.autograd.grad(there.sum(), moved),
            strict=True,
        ):
            torch.testing.assert_close(away.cpu(), here, rtol=1e-12, atol=1e-12)


def test_function_gives_what_its_derivative_reads() -> None:
    """DenseFunction answers a, and z beside it only where φ' is a function of z."""
    inputs = arguments("gelu")
    for activation in ACTIVATION_NAMES:
        apply: Any = DenseFunction.apply
        outputs = apply(*inputs, activation, False)
        assert isinstance(outputs, tuple) == (ACTIVATIONS[activation].reads == "z")


def test_gradient_that_reaches_z() -> None:
    """A loss of both outputs, a and z, has the gradients of the two added up."""
    inputs = arguments("gelu")
    apply: Any = DenseFunction.apply
    a, z = apply(*inputs, "gelu", False)
    actual = torch.autograd.grad((a + 3 * z).sum(), inputs, retain_graph=True)
    linear = F.linear(*inputs)
    expected = torch.autograd.grad((F.gelu(linear) + 3 * linear).sum(), inputs)
    for gradient, theirs in zip(actual, expected, strict=True):
        assert_product(gradient, theirs)
    only_z = torch.autograd.grad(z.sum(), inputs)
    for gradient, theirs in zip(
        only_z, torch.autograd.grad(F.linear(*inputs).sum(), inputs), strict=True
    ):
        assert_product(gradient, theirs)


W = torch.zeros(3, 4)
MISTAKES: list[tuple[type[Exception], tuple[Any, ...], str]] = [
    (
        ValueError,
        (torch.zeros(2, 5), W),
        (
            r"dense: expected last dimension in_features=4 for a weight of shape \(3, 4\), "
            r"got input of shape \(2, 5\)$"
        ),
    ),
    (
        ValueError,
        (torch.zeros(8, 1, 2, 2), W),
        (
            r"in_features=4 .* got input of shape \(8, 1, 2, 2\); flatten the images first: "
            r"x\.flatten\(1\)"
        ),
    ),
    (
        ValueError,
        (torch.tensor(1.0), W),
        r"in_features=4 for a weight of shape \(3, 4\), got input of shape \(\)",
    ),
    (
        ValueError,
        (torch.zeros(2, 4), torch.zeros(4)),
        r"expected a weight of shape \(out_features, in_features\), got shape \(4,\)",
    ),
    (
        ValueError,
        (torch.zeros(2, 4), W, torch.zeros(4)),
        r"expected a bias of shape \(3,\) for a weight of shape \(3, 4\), got shape \(4,\)",
    ),
    (
        ValueError,
        (torch.zeros(2, 4), W, torch.zeros(1, 3)),
        r"expected a bias of shape \(3,\) for a weight of shape \(3, 4\), got shape \(1, 3\)",
    ),
    (
        ValueError,
        (torch.zeros(2, 4), W, torch.zeros(3, device="meta")),
        (
            r"expected one device, got input of shape \(2, 4\) on cpu "
            r"and bias of shape \(3,\) on meta"
        ),
    ),
    (
        ValueError,
        (torch.zeros(2, 4, device="meta"), W),
        (
            r"expected one device, got input of shape \(2, 4\) on meta "
            r"and weight of shape \(3, 4\) on cpu"
        ),
    ),
    (
        ValueError,
        (torch.zeros(2, 4), W, None, "rely"),
        r"unknown activation 'rely'; did you mean 'relu'\?",
    ),
    (
        TypeError,
        (torch.zeros(2, 4, dtype=torch.long), W),
        (
            r"expected a floating-point input, got torch\.int64 of shape \(2, 4\); "
            r"convert it with x\.float\(\)"
        ),
    ),
    (
        TypeError,
        (torch.zeros(2, 4, dtype=torch.float64), W),
        (
            r"got input torch\.float64 of shape \(2, 4\) "
            r"and weight torch\.float32 of shape \(3, 4\); conv"
        ),
    ),
    (
        TypeError,
        (torch.zeros(2, 4), W, torch.zeros(3, dtype=torch.float64)),
        (
            r"got input torch\.float32 of shape \(2, 4\) "
            r"and bias torch\.float64 of shape \(3,\); convert"
        ),
    ),
]


@pytest.mark.parametrize(
    ("kind", "given_arguments", "text"),
    MISTAKES,
    ids=[
        "last-dimension",
        "images",
        "scalar-input",
        "weight-rank",
        "bias-size",
        "bias-rank",
        "bias-device",
        "input-device",
        "activation",
        "integer-input",
        "weight-dtype",
        "bias-dtype",
    ],
)
def test_mistakes_are_explained(
    kind: type[Exception], given_arguments: tuple[Any, ...], text: str
) -> None:
    """What does not fit is refused before anything is computed, with what came and the remedy."""
    with pytest.raises(kind, match=text):
        dense(*given_arguments)


@pytest.mark.parametrize(("fan_in", "fan_out"), [(0, 3), (3, 0)])
def test_no_features_is_a_shape_like_any_other(fan_in: int, fan_out: int) -> None:
    """Without inputs the layer is φ(b), without outputs nothing; gradients keep their shapes."""
    x = torch.randn(2, fan_in, requires_grad=True)
    weight = torch.randn(fan_out, fan_in, requires_grad=True)
    bias = torch.randn(fan_out, requires_grad=True)
    a = dense(x, weight, bias, "gelu")
    torch.testing.assert_close(a, torch.nn.functional.gelu(bias).expand(2, fan_out))
    gradients = torch.autograd.grad(a.sum(), (x, weight, bias))
    assert [g.shape for g in gradients] == [x.shape, weight.shape, bias.shape]
