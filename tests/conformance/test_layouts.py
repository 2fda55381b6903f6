"""Shapes, strides and complex numbers: as nn.Linear takes and gives them."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conformance.layers import (
    COMPLEX_NAMES,
    SHAPES,
    Layer,
    answers,
    assert_alike,
    dense,
    every_activation,
    gradients,
    inputs,
)
from tests.problems import ACTIVATION_NAMES
from tests.strategies import laid_out

LAYOUTS = ("contiguous", "transposed", "strided", "expanded", "offset")
layouts_of_x = pytest.mark.parametrize("of_x", LAYOUTS)
KINDS = ("identity", "relu", "gelu")


@layouts_of_x
@pytest.mark.parametrize("activation", KINDS)
def test_layouts(activation: str, of_x: str) -> None:
    """However x, weight, bias and grad_output lie in memory: torch's values, and its strides."""
    for of_weight in LAYOUTS:

        def check(layer: Layer, of_weight: str = of_weight) -> Any:
            found = []
            for batch in [(5,), (5, 6)]:
                for of_bias, of_grad in [("contiguous", of_x), ("strided", of_weight)]:
                    tensors = [
                        laid_out((*batch, 4), of_x).requires_grad_(),
                        laid_out((3, 4), of_weight).requires_grad_(),
                        laid_out((3,), of_bias).requires_grad_(),
                    ]
                    output = layer(*tensors, activation)
                    arriving = laid_out((*batch, 3), of_grad)
                    found.append((output, output.stride(), gradients(output, tensors, arriving)))
            return found

        assert_alike(check)


@every_activation
def test_gradients_are_contiguous_where_torchs_are(activation: str) -> None:
    """A gradient is laid out densely, in the order of its axes, where torch's is."""

    def check(layer: Layer) -> Any:
        flags = []
        for batch in [(), (5,), (1,), (5, 6), (0,)]:
            for of_x in LAYOUTS:
                tensors = inputs("identity", batch, 4, 3, wanted="wb")
                tensors[0] = laid_out((*batch, 4), of_x if batch else "contiguous").requires_grad_()
                output = layer(*tensors, activation)
                flags += [grad.is_contiguous() for grad in gradients(output, tensors)]
        return flags

    ours, theirs = answers(check)
    assert all(mine or not other for mine, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_torchs_samples(shapes: list[tuple[int, ...]]) -> None:
    """On every OpInfo case of F.linear output and gradients are torch's."""
    for activation in KINDS:

        def check(layer: Layer, activation: str = activation) -> Any:
            tensors = [
                torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes
            ]
            output = layer(*(*tensors, None)[:3], activation)
            return output, output.stride(), gradients(output, tensors)

        assert_alike(check)


# Batch axes, inputs, outputs.
SIZES: list[tuple[tuple[int, ...], int, int]] = [
    ((0,), 4, 3),
    ((5,), 0, 3),
    ((5,), 4, 0),
    ((0,), 0, 0),
    ((2, 0, 3), 4, 2),
    ((), 0, 2),
    ((), 4, 0),
    ((1, 1, 1, 1, 1, 1), 1, 1),
]


@every_activation
def test_nothing_along_an_axis(activation: str) -> None:
    """No rows, no inputs, no outputs: outputs and gradients have torch's shapes and values."""

    def of_size(layer: Layer, sizes: tuple[tuple[int, ...], int, int]) -> Any:
        batch, fan_in, fan_out = sizes
        tensors = [
            torch.randn(shape, dtype=torch.float64, requires_grad=True)
            for shape in [(*batch, fan_in), (fan_out, fan_in), (fan_out,)]
        ]
        output = layer(*tensors, activation)
        first = gradients(output, tensors, create_graph=True)
        size = torch.stack([g.square().sum() for g in first]).sum()
        second = torch.autograd.grad(size, tensors, materialize_grads=True)
        return output, output.stride(), first, second

    for sizes in SIZES:
        assert_alike(partial(of_size, sizes=sizes))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("activation", COMPLEX_NAMES)
def test_complex(activation: str, dtype: torch.dtype) -> None:
    """Complex numbers, lazily conjugated ones and imaginary parts: torch's values and gradients."""

    def check(layer: Layer) -> Any:
        found = []
        for conjugated in ("", "x", "w", "b", "xwb"):
            tensors = inputs(activation, (2, 3), dtype=dtype, wanted="xwb")
            given = [
                t.conj() if name in conjugated else t
                for t, name in zip(tensors, "xwb", strict=True)
            ]
            assert all(t.is_conj() for t, n in zip(given, "xwb", strict=True) if n in conjugated)
            output = layer(*given, activation)
            arriving = torch.randn(2, 3, 2, dtype=dtype).conj()
            found.append((output.resolve_conj(), *gradients(output, tensors, arriving)))
        return [[t.resolve_conj() for t in tensors] for tensors in found]

    tolerance = 1e-5 if dtype == torch.complex64 else 1e-10
    assert_alike(check, rtol=tolerance, atol=tolerance)


@every_activation
def test_lazily_negated_inputs(activation: str) -> None:
    """The imaginary part of a conjugate, whose sign torch flips on reading, is read right."""

    def check(layer: Layer) -> Any:
        made = [torch.randn(3, 4), torch.randn(2, 4), torch.randn(2)]
        parts = [torch.complex(t, t.cos()).conj().imag for t in made]
        assert all(part.is_neg() for part in parts)
        x, weight, bias = parts
        leaf = weight.clone().requires_grad_()
        return layer(x, weight, bias, activation), gradients(
            layer(x, leaf, bias, activation), [leaf]
        )

    assert_alike(check, rtol=1e-5, atol=1e-5)


# Torch's softsign of a complex number divides by an absolute value: neither asked for nor refused.
REAL_NAMES = [n for n in ACTIVATION_NAMES if n not in {*COMPLEX_NAMES, "softsign"}]


@pytest.mark.parametrize("activation", REAL_NAMES)
def test_complex_numbers_without_a_meaning(activation: str) -> None:
    """Where an activation has no complex meaning, a TypeError names it and the dtype."""
    x, weight = torch.ones(3, 4, dtype=torch.complex64), torch.ones(2, 4, dtype=torch.complex64)
    with pytest.raises(TypeError, match=rf"{activation}.*complex64|complex64.*{activation}"):
        dense(x, weight, None, activation)


@every_activation
def test_one_tensor_in_two_places(activation: str) -> None:
    """x and weight may be one tensor, or share memory; the gradients add up."""

    def check(layer: Layer) -> Any:
        square = torch.randn(3, 3).double().requires_grad_()
        twice = gradients(layer(square, square, None, activation), [square])
        views = gradients(layer(square[:2], square.t(), square[0], activation), [square])
        return twice, views

    assert_alike(check)


@every_activation
def test_inputs_that_are_views_or_no_leaves(activation: str) -> None:
    """Gradients flow on through views, expanded tensors and results of other operations."""

    def check(layer: Layer) -> Any:
        base = torch.randn(4, 6).double().requires_grad_()
        x = base[:, 1:5].expand(2, 4, 4)
        weight = base.view(3, 8)[:, ::2]
        bias = base.sum()[None].expand(3)
        return gradients(layer(x, weight, bias, activation), [base])

    assert_alike(check)


@every_activation
def test_default_dtype_does_not_matter(activation: str) -> None:
    """With another torch default dtype the layer computes what it did, in its own dtype."""
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        x, weight, bias = (t.to(dtype) for t in inputs(activation))
        expected = dense(x, weight, bias, activation)
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            actual = dense(x, weight, bias, activation)
        finally:
            torch.set_default_dtype(before)
        assert actual.dtype == dtype
        assert torch.equal(actual, expected)


@every_activation
def test_meta_tensors(activation: str) -> None:
    """On the meta device shapes, strides and gradients' shapes are torch's."""

    def check(layer: Layer) -> Any:
        facts: list[Any] = []
        for batch in [(), (5,), (5, 6), (0,)]:
            tensors = [t.to("meta").requires_grad_() for t in inputs("identity", batch)]
            output = layer(*tensors, activation)
            made: list[Tensor] = [output, *gradients(output, tensors, torch.empty_like(output))]
            facts += [(t.shape, t.stride(), t.dtype, t.device.type) for t in made]
        return facts

    assert_alike(check)
