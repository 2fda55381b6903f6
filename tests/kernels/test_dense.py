"""The dense layer and its gradients against sums written as loops, F.linear and autograd."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from beartype import beartype
from hypothesis import given
from jaxtyping import TypeCheckError, jaxtyped
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tests.oracles import (
    central_difference,
    loop_forward,
    loop_grad_bias,
    loop_grad_weight,
    loop_grad_x,
)
from tests.problems import DTYPES, assert_product, dtype_id
from tests.strategies import Arguments, dense_arguments
from torchmlp.kernels import dense as module
from torchmlp.kernels.dense import (
    averaging_scale,
    dense_forward,
    dense_grad_bias,
    dense_grad_weight,
    dense_grad_x,
)

half_dtypes = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=dtype_id)
MANY = 70_000  # rows; 65504 is the largest float16


@given(dense_arguments())
def test_forward_is_the_sum(arguments: Arguments) -> None:
    """Z = x Wᵀ + b is the sum written as loops, and torch's linear, for any shape and layout."""
    x, weight, bias, _ = arguments
    a, z = dense_forward(x, weight, bias, "identity")
    assert_product(z, loop_forward(x, weight, bias))
    assert_product(z, F.linear(x, weight, bias))
    assert torch.equal(a, z)


@given(dense_arguments())
def test_gradients_are_the_sums(arguments: Arguments) -> None:
    """Each gradient kernel, called by itself, is its sum written as loops."""
    x, weight, _, delta = arguments
    assert_product(dense_grad_x(delta, weight), loop_grad_x(delta, weight))
    assert_product(dense_grad_weight(delta, x), loop_grad_weight(delta, x))
    assert_product(dense_grad_bias(delta), loop_grad_bias(delta))


@given(dense_arguments())
def test_gradients_are_linears(arguments: Arguments) -> None:
    """Each gradient kernel, called by itself, is what autograd answers for torch's linear."""
    x, weight, _, delta = arguments
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    bias = torch.zeros(weight.shape[0], dtype=x.dtype, requires_grad=True)
    expected = torch.autograd.grad(F.linear(x, weight, bias), (x, weight, bias), delta)
    assert_product(dense_grad_x(delta, weight.detach()), expected[0])
    assert_product(dense_grad_weight(delta, x.detach()), expected[1])
    assert_product(dense_grad_bias(delta), expected[2])


@given(dense_arguments())
def test_scale_scales(arguments: Arguments) -> None:
    """A scale multiplies the weight and the bias gradient and nothing else."""
    x, _, _, delta = arguments
    assert_product(dense_grad_weight(delta, x, 0.25), 0.25 * loop_grad_weight(delta, x))
    assert_product(dense_grad_bias(delta, 0.25), 0.25 * loop_grad_bias(delta))


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("batch", [(), (7,), (2, 3), (0,)], ids=str)
def test_every_dtype(batch: tuple[int, ...], dtype: torch.dtype) -> None:
    """Forward and gradients keep the dtype and are right to its last bits."""
    x, delta = torch.randn(*batch, 5).to(dtype), torch.randn(*batch, 3).to(dtype)
    weight, bias = torch.randn(3, 5).to(dtype), torch.randn(3).to(dtype)
    wide = [tensor.double() for tensor in (x, weight, bias, delta)]
    assert_product(
        dense_forward(x, weight, bias, "identity")[1],
        loop_forward(wide[0], wide[1], wide[2]).to(dtype),
    )
    assert_product(dense_grad_x(delta, weight), loop_grad_x(wide[3], wide[1]).to(dtype))
    for scale in (1.0, 1 / 7):
        assert_product(
            dense_grad_weight(delta, x, scale),
            (scale * loop_grad_weight(wide[3], wide[0])).to(dtype),
        )
        assert_product(dense_grad_bias(delta, scale), (scale * loop_grad_bias(wide[3])).to(dtype))


def test_gradients_are_the_slopes() -> None:
    """Each gradient is what central differences of Σ z·delta measure."""
    x, weight = torch.randn(4, 3).double(), torch.randn(2, 3).double()
    bias, delta = torch.randn(2).double(), torch.randn(4, 2).double()

    def projected(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return (dense_forward(x, weight, bias, "identity")[1] * delta).sum()

    close: dict[str, Any] = {"rtol": 0, "atol": 1e-8}
    torch.testing.assert_close(
        dense_grad_x(delta, weight),
        central_difference(lambda at: projected(at, weight, bias), x),
        **close,
    )
    torch.testing.assert_close(
        dense_grad_weight(delta, x),
        central_difference(lambda at: projected(x, at, bias), weight),
        **close,
    )
    torch.testing.assert_close(
        dense_grad_bias(delta),
        central_difference(lambda at: projected(x, weight, at), bias),
        **close,
    )


def test_zero_rows_give_zeros() -> None:
    """No rows: gradients of zeros, in the parameters' shapes."""
    x, delta = torch.randn(0, 4), torch.randn(0, 3)
    for scale in (1.0, averaging_scale(0)):
        assert torch.equal(dense_grad_weight(delta, x, scale), torch.zeros(3, 4))
        assert torch.equal(dense_grad_bias(delta, scale), torch.zeros(3))


@given(dense_arguments())
def test_affine_in_x(arguments: Arguments) -> None:
    """z(2x) − z(0) = 2 (z(x) − z(0))."""
    x, weight, bias, _ = arguments

    def z(x: Tensor) -> Tensor:
        return dense_forward(x, weight, bias, "identity")[1]

    at_zero = z(torch.zeros_like(x))
    torch.testing.assert_close(z(2 * x) - at_zero, 2 * (z(x) - at_zero), rtol=0, atol=1e-12)


def test_rows_are_independent() -> None:
    """A batch of two is two batches of one: outputs side by side, gradients added up."""
    x, delta = torch.randn(2, 5).double(), torch.randn(2, 3).double()
    weight, bias = torch.randn(3, 5).double(), torch.randn(3).double()
    whole = dense_forward(x, weight, bias, "tanh")[0]
    for n in range(2):
        assert_product(dense_forward(x[n], weight, bias, "tanh")[0], whole[n])
    parts = [dense_grad_weight(delta[n], x[n]) for n in range(2)]
    assert_product(dense_grad_weight(delta, x), parts[0] + parts[1])
    assert_product(dense_grad_bias(delta), dense_grad_bias(delta[0]) + dense_grad_bias(delta[1]))


def test_order_of_rows_does_not_matter() -> None:
    """Shuffling the batch leaves the weight and bias gradients alone."""
    x, delta = torch.randn(9, 5).double(), torch.randn(9, 3).double()
    order = torch.randperm(9)
    assert_product(dense_grad_weight(delta[order], x[order]), dense_grad_weight(delta, x))
    assert_product(dense_grad_bias(delta[order]), dense_grad_bias(delta))


def test_activation_is_applied() -> None:
    """Forward returns φ(z) first and z second."""
    x, weight = torch.tensor([1.0, -2.0]), torch.eye(2)
    a, z = dense_forward(x, weight, torch.tensor([0.5, 0.5]), "relu")
    assert z.tolist() == [1.5, -1.5]
    assert a.tolist() == [1.5, 0.0]


@half_dtypes
def test_average_is_taken_before_rounding(dtype: torch.dtype) -> None:
    """In 16 bits a sum beyond the largest float16 is averaged first, and does not overflow."""
    delta, x = torch.full((MANY, 2), 3.0, dtype=dtype), torch.ones(MANY, 2, dtype=dtype)
    scale = averaging_scale(MANY)
    for average in (dense_grad_weight(delta, x, scale), dense_grad_bias(delta, scale)):
        torch.testing.assert_close(average, torch.full_like(average, 3.0))
    if dtype == torch.float16:  # the control: the sum itself is out of range
        assert dense_grad_weight(delta, x).isinf().all()
        assert dense_grad_bias(delta).isinf().all()


@pytest.mark.parametrize(("rows", "scale"), [(0, 1.0), (1, 1.0), (4, 0.25)])
def test_averaging_scale(rows: int, scale: float) -> None:
    """1/N, and 1 where there is nothing to average."""
    assert averaging_scale(rows) == scale


def test_nan_in_one_row_stays_in_it() -> None:
    """A sample that is nan makes its own output nan and no other's."""
    x = torch.randn(3, 4)
    x[1] = torch.nan
    _, z = dense_forward(x, torch.randn(2, 4), torch.randn(2), "identity")
    assert z.isnan().all(1).tolist() == [False, True, False]


def changed(function: Callable[..., Tensor], old: str, new: str) -> Callable[..., Tensor]:
    """The kernel with a piece of its source replaced, its annotations checked at every call."""
    source = inspect.getsource(function)
    assert source.count(old) == 1
    names: dict[str, Any] = dict(vars(module))
    exec(source.replace(old, new), names)
    wrapped: Callable[..., Tensor] = jaxtyped(names[function.__name__], typechecker=beartype)
    return wrapped


@pytest.mark.parametrize(
    ("scale", "sum_"),
    [
        (1.0, "delta_NO.sum(0)"),
        (0.25, "delta_NO.sum(0, dtype=torch.float32 if half else delta.dtype)"),
    ],
    ids=["sum", "average"],
)
def test_annotation_catches_an_unsummed_bias_gradient(scale: float, sum_: str) -> None:
    """A bias gradient that was never summed over the batch does not fit its annotation.

    Autograd would sum it silently, and gradcheck would pass.
    """
    delta = torch.randn(4, 3)
    right = changed(dense_grad_bias, sum_, sum_)
    assert torch.equal(right(delta, scale), dense_grad_bias(delta, scale))
    wrong = changed(dense_grad_bias, sum_, "delta_NO")
    with pytest.raises(TypeCheckError, match="return value"):
        wrong(delta, scale)


def test_annotation_catches_a_transposed_weight_gradient() -> None:
    """A weight gradient of shape (fan_in, fan_out) does not fit its annotation."""
    wrong = changed(dense_grad_weight, "return delta_ON @ x_NI", "return (delta_ON @ x_NI).t()")
    with pytest.raises(TypeCheckError, match="return value"):
        wrong(torch.randn(4, 3), torch.randn(4, 2))


def test_annotations_are_checked_in_this_run() -> None:
    """The kernels under test are the checked ones: a delta that fits no weight is refused."""
    with pytest.raises(TypeCheckError, match="weight"):
        dense_grad_x(torch.randn(2, 3), torch.randn(4, 5))
