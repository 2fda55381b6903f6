"""dense beside nn.Linear and an activation: one check asked of both, the answers compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils import _pytree as pytree

import torchmlp
from tests.oracles import FUNCTIONS
from tests.problems import ACTIVATION_NAMES, KINKS

every_activation = pytest.mark.parametrize("activation", ACTIVATION_NAMES)
with_and_without_bias = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])

# Activations that torch computes for complex numbers and whose derivative it has.
COMPLEX_NAMES = ("identity", "sigmoid", "tanh")

# On inputs of order one. The defaults of gradcheck accept a gradient that is 0.1 % wrong.
STRICT: dict[str, Any] = {"rtol": 0.0, "atol": 1e-7}


# dense, or what it has to be like: x, weight, bias and the activation's name -> the output.
Layer = Callable[..., Any]

dense: Layer = torchmlp.dense


def linear_then(x: Any, weight: Any, bias: Any = None, activation: str = "identity") -> Any:
    """What `dense` has to be like: torch's linear layer, then torch's activation."""
    return FUNCTIONS[activation](F.linear(x, weight, bias))


Check = Callable[[Layer], Any]


def answers(check: Check) -> tuple[Any, Any]:
    """The check's answers for `dense` and for the reference, from the same random numbers."""
    torch.manual_seed(0)
    expected = check(linear_then)
    torch.manual_seed(0)
    return check(dense), expected


def assert_alike(check: Check, *, rtol: float = 1e-10, atol: float = 1e-10) -> None:
    """The check answers the same: types, dtypes, shapes and values, tensor by tensor."""
    assert_same(*answers(check), rtol=rtol, atol=atol)


def assert_same(actual: Any, expected: Any, *, rtol: float = 1e-10, atol: float = 1e-10) -> None:
    """Two nested answers are the same."""
    ours, our_form = pytree.tree_flatten(actual)
    theirs, their_form = pytree.tree_flatten(expected)
    assert our_form == their_form
    for mine, other in zip(ours, theirs, strict=True):
        if isinstance(other, Tensor):
            assert type(mine) is type(other)
            torch.testing.assert_close(mine, other, rtol=rtol, atol=atol, equal_nan=True)
        else:
            assert mine == other


def outcome(check: Check, layer: Layer) -> tuple[str, Any]:
    """What the check answers for this layer, or the kind of error that it ends in."""
    torch.manual_seed(0)
    try:
        return "answer", check(layer)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        return type(error).__name__, None


def inputs(
    activation: str = "identity",
    batch: tuple[int, ...] = (3,),
    fan_in: int = 4,
    fan_out: int = 2,
    *,
    bias: bool = True,
    dtype: torch.dtype = torch.float64,
    wanted: str = "",
) -> list[Tensor]:
    """x, weight and, if asked for, bias: of order one, away from the activation's kinks.

    Args:
        activation: whose kinks to stay away from.
        batch: the batch axes of x.
        fan_in: features of x.
        fan_out: features of the output.
        bias: whether there is one.
        dtype: of all of them.
        wanted: which of "x", "w" and "b" want a gradient.
    """
    shapes = [(*batch, fan_in), (fan_out, fan_in), (fan_out,)][: 3 if bias else 2]
    return away_from_kinks(
        lambda: [torch.randn(shape, dtype=dtype) for shape in shapes], activation, wanted
    )


def away_from_kinks(
    draw: Callable[[], list[Tensor]], activation: str, wanted: str = ""
) -> list[Tensor]:
    """Tensors as drawn, again until no pre-activation lies within 1e-2 of a kink.

    Where no argument has an element every z is 0, and there is nothing to differentiate by.
    """
    for _ in range(1000):
        tensors = draw()
        z = F.linear(*tensors)
        is_constant = z.is_complex() or not any(t.numel() for t in tensors)
        kinks = () if is_constant else KINKS.get(activation, ())
        if all(bool(((z - kink).abs() > 1e-2).all()) for kink in kinks):
            return [
                t.requires_grad_(name in wanted) for t, name in zip(tensors, "xwb", strict=False)
            ]
    raise AssertionError("no arguments found that stay away from the kinks")


LINEAR: Any = next(op for op in op_db if op.name == "nn.functional.linear")
SHAPES = [
    [tuple(tensor.shape) for tensor in (case.input, *case.args)]
    for case in LINEAR.sample_inputs("cpu", torch.float64)
]
every_sample = pytest.mark.parametrize("shapes", SHAPES, ids=str)


def sample(
    shapes: list[tuple[int, ...]], activation: str, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Arguments of the shapes of one of torch's own test cases of F.linear, of order one."""
    return away_from_kinks(
        lambda: [torch.randn(shape, dtype=dtype) / 2 for shape in shapes], activation, "xwb"
    )


def gradients(
    output: Tensor, wanted: list[Tensor], grad_output: Tensor | None = None, **options: Any
) -> tuple[Any, ...]:
    """torch.autograd.grad of a random weighting of the output."""
    if grad_output is None:
        grad_output = torch.randn(output.shape, dtype=output.dtype)
    return torch.autograd.grad(output, wanted, grad_output, **options)
