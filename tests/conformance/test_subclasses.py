"""Subclasses of Tensor, modes and fakes: what nn.Linear and an activation do with them."""

# mypy: allow-untyped-calls

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.testing._internal.logging_tensor import LoggingTensor, LoggingTensorMode
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.conformance.layers import (
    Layer,
    answers,
    assert_alike,
    every_activation,
    gradients,
    inputs,
)
from tests.problems import ACTIVATION_NAMES
from torchmlp import MLP, Dense

SUBSETS = ("x", "w", "b", "xw", "xb", "wb", "xwb")


class Plain(Tensor):
    """A subclass that changes nothing."""


CALLS: list[str] = []


class Logged(Tensor):
    """A subclass that notes the functions it goes through."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        CALLS.append(getattr(func, "__name__", str(func)))
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.parametrize("kind", [Plain, Logged])
@every_activation
def test_subclasses(activation: str, kind: type[Tensor]) -> None:
    """With any inputs of a subclass: output and gradients of torch's type and values."""
    for subset in SUBSETS:

        def check(layer: Layer, subset: str = subset) -> Any:
            tensors = [
                t.as_subclass(kind).requires_grad_() if name in subset else t.requires_grad_()
                for t, name in zip(inputs(activation), "xwb", strict=True)
            ]
            output = layer(*tensors, activation)
            assert type(output) is kind
            torch.autograd.backward(output.sum())
            return output.detach(), [t.grad for t in tensors]

        assert_alike(check)


def test_a_subclass_sees_torchs_functions() -> None:
    """A logging subclass sees linear and the activation, as it does through torch.nn."""
    x, weight, bias = inputs("gelu")
    for activation in ("relu", "gelu", "tanh", "hardswish"):

        def check(layer: Layer, activation: str = activation) -> Any:
            CALLS.clear()
            layer(x.as_subclass(Logged), weight, bias, activation)
            return {name for name in CALLS if name in {"linear", activation}}

        assert_alike(check)


def inner(tensor: Any) -> Any:
    return tensor.a if isinstance(tensor, TwoTensor) else getattr(tensor, "elem", tensor)


@pytest.mark.parametrize("wrap", ["two", "logging"])
@every_activation
def test_wrappers(activation: str, wrap: str) -> None:
    """Wrapper subclasses of torch's own tests: output and gradients wrapped where torch's are."""
    for subset in SUBSETS:

        def check(layer: Layer, subset: str = subset) -> Any:
            made: list[Tensor] = []
            for t, name in zip(inputs(activation), "xwb", strict=True):
                wrapped: Any = t
                if name in subset:
                    wrapped = TwoTensor(t, t.clone()) if wrap == "two" else LoggingTensor(t)
                made.append(wrapped.requires_grad_())
            output = layer(*made, activation)
            grads = torch.autograd.grad(output.sum(), made)
            return [(type(t).__name__, inner(t.detach())) for t in (output, *grads)]

        assert_alike(check)


class Counting(TorchDispatchMode):
    """Passes everything on, and counts it."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        self.count += 1
        return func(*args, **(kwargs or {}))


class Watching(TorchFunctionMode):
    """Passes everything on, and counts it."""

    count = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("make", [Counting, Watching, LoggingTensorMode])
@every_activation
def test_under_modes(activation: str, make: Any) -> None:
    """A mode of either kind sees the layer work, and changes nothing of it."""

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, wanted="xwb")
        with make() as mode:
            output = layer(*tensors, activation)
            assert getattr(mode, "count", 1) > 0
            return output, gradients(output, tensors)

    assert_alike(check)


@every_activation
def test_a_mode_can_replace_the_product(activation: str) -> None:
    """A dispatch mode that computes products its own way is obeyed, forward and backward."""
    products = (torch.ops.aten.addmm.default, torch.ops.aten.mm.default)

    class Doubling(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            del types
            result = func(*args, **(kwargs or {}))
            return 2 * result if func in products else result

    def check(layer: Layer) -> Any:
        tensors = inputs("identity", wanted="xwb")
        with Doubling():
            output = layer(*tensors, activation)
            return output, gradients(output, tensors)

    assert_alike(check)


@every_activation
def test_fakes(activation: str) -> None:
    """Fake tensors: outputs and gradients with torch's shapes, strides and dtypes, and fake."""

    def check(layer: Layer) -> Any:
        facts: list[Any] = []
        for batch in [(), (5,), (5, 6), (0,)]:
            with FakeTensorMode(allow_non_fake_inputs=False):
                tensors = [
                    torch.empty(shape, requires_grad=True) for shape in [(*batch, 4), (2, 4), (2,)]
                ]
                output = layer(*tensors, activation)
                made = [output, *torch.autograd.grad(output.sum(), tensors)]
            facts += [(type(t).__name__, t.shape, t.stride(), t.dtype) for t in made]
        return facts

    assert_alike(check)


@every_activation
def test_fake_modules(activation: str) -> None:
    """A module made under FakeTensorMode, and a real one called with fakes, answer with fakes."""
    with FakeTensorMode():
        assert Dense(4, 3, activation=activation)(torch.empty(5, 4)).shape == (5, 3)
        mlp = MLP(4, [6], 3, activation)
        torch.autograd.backward(mlp(torch.empty(5, 4)).sum())
    real = Dense(4, 3, activation=activation)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert type(real(mode.from_tensor(torch.ones(5, 4)))).__name__ == "FakeTensor"


@every_activation
def test_default_device(activation: str) -> None:
    """Under torch.device and set_default_device the layer stays where its inputs are."""

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, wanted="xwb")
        with torch.device("meta"):
            output = layer(*tensors, activation)
            first = gradients(output, tensors, torch.ones(3, 2, device="cpu").double())
        torch.set_default_device("meta")
        try:
            output = layer(*tensors, activation)
        finally:
            torch.set_default_device(None)
        return output, first

    assert_alike(check)


class Parameter(nn.Parameter):
    """A subclass of Parameter."""


@every_activation
def test_parameters_of_other_kinds(activation: str) -> None:
    """Parameter's subclasses and buffers serve as weights."""
    x, weight, bias = inputs(activation)

    def check(layer: Layer) -> Any:
        made = Parameter(weight.clone()), nn.Buffer(bias.clone())
        output = layer(x, *made, activation)
        return output, torch.autograd.grad(output.square().sum(), made[0])

    ours, theirs = answers(check)
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[1][0], theirs[1][0])


# The others torch does not compute, or not differentiate, for nested tensors.
@pytest.mark.parametrize(
    "activation",
    [n for n in ACTIVATION_NAMES if n not in {"leaky_relu", "hardswish", "logsigmoid"}],
)
def test_ragged_batches(activation: str) -> None:
    """A jagged nested tensor goes through, with gradients, as it does through nn.Linear."""

    def check(layer: Layer) -> Any:
        rows = [torch.randn(n, 4, dtype=torch.float64) for n in (2, 5, 1)]
        x = torch.nested.nested_tensor(rows, layout=torch.jagged)
        _, weight, bias = inputs("identity", wanted="wb")
        output = layer(x, weight, bias, activation)
        return output.values(), torch.autograd.grad(output.values().sum(), [weight, bias])

    assert_alike(check)


@pytest.mark.parametrize("storage", ["sparse", "mkldnn"])
def test_other_storage(storage: str) -> None:
    """Inputs whose numbers torch keeps in another way go through, as through nn.Linear."""

    def check(layer: Layer) -> Any:
        x, weight, bias = (t.float() for t in inputs("relu"))
        if storage == "sparse":
            return layer(x.to_sparse(), weight, bias, "relu")
        return layer(x.to_mkldnn(), weight.to_mkldnn(), None, "relu").to_dense()

    assert_alike(check, rtol=1e-6, atol=1e-6)
