"""Derivatives of every order and mode, on torch's own test cases of a linear layer."""

# mypy: allow-untyped-calls

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from tests.conformance.layers import (
    COMPLEX_NAMES,
    SHAPES,
    STRICT,
    Layer,
    assert_alike,
    dense,
    every_activation,
    every_sample,
    gradients,
    inputs,
    sample,
    with_and_without_bias,
)
from tests.problems import ACTIVATION_NAMES

Shapes = list[tuple[int, ...]]
# The narrow ones: of each rank with a bias, and one without.
some_samples = pytest.mark.parametrize(
    "shapes",
    [s for s in SHAPES if s[0][-1] in (2, 3) and (len(s) == 3 or s[0] == (8, 3))],
    ids=str,
)

SUBSETS = ("x", "w", "b", "xw", "xb", "wb", "xwb")

# One of each kind: by what its derivative reads, smooth and not.
KINDS = ("identity", "relu", "sigmoid", "gelu", "hardtanh")


def of(activation: str) -> Any:
    return lambda x, weight, bias=None: dense(x, weight, bias, activation)


@every_sample
@pytest.mark.parametrize("activation", KINDS)
def test_first_derivatives_on_torchs_samples(activation: str, shapes: Shapes) -> None:
    """Reverse, forward and batched derivatives are the finite differences on every OpInfo case."""
    assert gradcheck(
        of(activation),
        sample(shapes, activation),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
        check_undefined_grad=True,
        check_grad_dtypes=True,
        fast_mode=shapes[0][-1] == 8,  # the wide ones
        **STRICT,
    )


@some_samples
@pytest.mark.parametrize("activation", KINDS)
def test_second_derivatives_on_torchs_samples(activation: str, shapes: Shapes) -> None:
    """Reverse over reverse and forward over reverse are the finite differences on OpInfo cases."""
    assert gradgradcheck(
        of(activation),
        sample(shapes, activation),
        check_fwd_over_rev=True,
        check_rev_over_rev=True,
        check_undefined_grad=True,
        **STRICT,
    )


@with_and_without_bias
@every_activation
def test_every_check_of_gradgradcheck(activation: str, bias: bool) -> None:
    """Second derivatives in both mixed modes, batched too, for every activation."""
    assert gradgradcheck(
        of(activation),
        inputs(activation, (2,), 3, 2, bias=bias, wanted="xwb"),
        check_batched_grad=True,
        check_fwd_over_rev=True,
        check_rev_over_rev=True,
        check_grad_dtypes=True,
        **STRICT,
    )


@every_activation
def test_gradcheck_of_every_subset(activation: str) -> None:
    """Whichever of x, weight and bias want gradients, forward and reverse mode are right."""
    for subset in SUBSETS:
        tensors = inputs(activation, (2,), 3, 2, wanted=subset)
        assert gradcheck(
            of(activation), tensors, check_forward_ad=True, check_batched_grad=True, **STRICT
        )


@some_samples
@pytest.mark.parametrize("activation", COMPLEX_NAMES)
def test_complex_derivatives(activation: str, shapes: Shapes) -> None:
    """Complex reverse, forward and second derivatives are the finite differences."""
    tensors = sample(shapes, activation, torch.complex128)
    assert gradcheck(
        of(activation), tensors, check_forward_ad=True, check_batched_grad=True, **STRICT
    )
    assert gradgradcheck(of(activation), tensors, check_fwd_over_rev=True, **STRICT)


@every_activation
def test_third_order(activation: str) -> None:
    """The second derivative's own derivative is its finite difference."""
    x, weight, bias = inputs(activation, (2,), 2, 2, wanted="w")

    def second(weight: Tensor) -> Tensor:
        value = dense(x, weight, bias, activation).pow(3).sum()
        (first,) = torch.autograd.grad(value, weight, create_graph=True)
        (answer,) = torch.autograd.grad(first.pow(2).sum(), weight, create_graph=True)
        return answer

    assert gradcheck(second, (weight,), rtol=1e-6, atol=1e-6)


@every_activation
def test_forward_mode_without_functorch(activation: str) -> None:
    """Under dual_level with any inputs dual, output and tangent are torch's; so are their grads."""

    def along(layer: Layer, duals: str) -> Any:
        tensors = inputs(activation, wanted="xwb")
        with forward_ad.dual_level():
            made = [
                forward_ad.make_dual(t, torch.randn_like(t)) if name in duals else t
                for t, name in zip(tensors, "xwb", strict=True)
            ]
            primal, tangent = forward_ad.unpack_dual(layer(*made, activation))
            assert tangent is not None
            value = primal.square().sum() + tangent.square().sum()
            # Without a graph torch has no forward mode of its own silu's and mish's backward pass.
            return primal, tangent, torch.autograd.grad(value, tensors, create_graph=True)

    assert_alike(lambda layer: [along(layer, duals) for duals in SUBSETS])


@every_activation
def test_no_tangent_in_none_out(activation: str) -> None:
    """Inside dual_level an output of plain inputs has no tangent, and its backward pass works."""

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, wanted="xwb")
        with forward_ad.dual_level():
            output = layer(*tensors, activation)
            assert forward_ad.unpack_dual(output).tangent is None
            return gradients(output, tensors)

    assert_alike(check)


@every_activation
def test_batched_gradients(activation: str) -> None:
    """is_grads_batched gives the Jacobian that torch gives."""

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, wanted="xwb")
        output = layer(*tensors, activation)
        basis = torch.eye(6, dtype=torch.float64).reshape(6, 3, 2)
        return torch.autograd.grad(output, tensors, basis, is_grads_batched=True)

    assert_alike(check)


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
@every_activation
def test_autograd_functional(activation: str, strategy: str) -> None:
    """torch.autograd.functional's Jacobian and Hessian of all inputs are torch's."""

    def check(layer: Layer) -> Any:
        tensors = tuple(inputs(activation, (2,), 3, 2))
        functional = torch.autograd.functional

        def energy(*given: Tensor) -> Tensor:
            value: Tensor = layer(*given, activation).square().sum()
            return value

        def output(*given: Tensor) -> Tensor:
            a: Tensor = layer(*given, activation)
            return a

        return (
            functional.jacobian(output, tensors, vectorize=True, strategy=strategy),
            functional.hessian(energy, tensors, vectorize=True, outer_jacobian_strategy=strategy),
        )

    assert_alike(check)


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_gradient_that_is_not_wanted(activation: str) -> None:
    """allow_unused and materialize_grads answer as they do behind nn.Linear."""

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, wanted="xwb")
        other = torch.ones(3, dtype=torch.float64, requires_grad=True)
        output = layer(*tensors, activation)
        unused = gradients(output, [*tensors, other], allow_unused=True, retain_graph=True)
        assert unused[-1] is None
        return unused[:-1], gradients(output, [*tensors, other], materialize_grads=True)

    assert_alike(check)
