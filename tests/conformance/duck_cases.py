"""Objects that act like tensors through __torch_function__; a program of its own, see `program`."""

# mypy: allow-untyped-calls

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tests.conformance.layers import dense
from tests.conformance.program import Case, main
from tests.oracles import FUNCTIONS
from tests.problems import ACTIVATION_NAMES
from torchmlp import network_loss


class Metadata:
    """A tensor and a note: the example of torch's own documentation of __torch_function__."""

    table: dict[Any, Callable[..., Any]] = {}  # noqa: RUF012  filled below

    def __init__(self, tensor: Tensor, note: str) -> None:
        self.tensor, self.note = tensor, note

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func not in cls.table or not all(issubclass(t, (Tensor, cls)) for t in types):
            return NotImplemented
        return cls.table[func](*args, **(kwargs or {}))


def bare(given: Any) -> Any:
    return given.tensor if isinstance(given, Metadata) else given


def known(func: Any) -> None:
    """Metadata knows this function: it computes on the tensor and keeps the note."""

    def implementation(*args: Any, **kwargs: Any) -> Metadata:
        note = next(a.note for a in (*args, *kwargs.values()) if isinstance(a, Metadata))
        values = {name: bare(value) for name, value in kwargs.items()}
        return Metadata(func(*map(bare, args), **values), note)

    Metadata.table[func] = implementation


for _function in (
    F.linear,
    F.relu,
    torch.relu,
    F.leaky_relu,
    F.elu,
    F.selu,
    torch.sigmoid,
    torch.tanh,
    F.softplus,
    F.silu,
    F.gelu,
    F.mish,
    F.hardtanh,
    F.relu6,
    F.hardswish,
    F.softsign,
    F.logsigmoid,
):
    known(_function)


def wrapped(activation: str, which: str) -> None:
    """Wrapped in any place: the function's answer, and the note on it."""
    tensors = [torch.randn(3, 4), torch.randn(2, 4), torch.randn(2)]
    given: list[Any] = [
        Metadata(t, "kept") if name in which else t for t, name in zip(tensors, "xwb", strict=True)
    ]
    reference: Any = FUNCTIONS[activation](F.linear(*given))
    answer = dense(*given, activation)
    assert type(answer) is type(reference) is Metadata
    assert answer.note == "kept"
    torch.testing.assert_close(answer.tensor, reference.tensor)


class Refusing:
    """Knows nothing, and says so."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return NotImplemented


def refused() -> None:
    """Where no type knows the function, torch's own TypeError."""
    for layer in (F.linear, dense):
        with pytest.raises(TypeError, match="__torch_function__"):
            layer(Refusing(), torch.ones(2, 4), None)  # type: ignore[arg-type]


class Whole(Tensor):
    """Overrides a function as a whole."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.linear:
            return torch.full((3, 2), -7.0)
        return super().__torch_function__(func, types, args, kwargs or {})


def overridden_linear() -> None:
    """A subclass that has a linear of its own is asked for it."""
    x, weight = torch.randn(3, 4).as_subclass(Whole), torch.randn(2, 4)
    assert torch.equal(dense(x, weight, None, "relu"), torch.zeros(3, 2))
    assert torch.equal(dense(x, weight), torch.full((3, 2), -7.0))


def network_of_subclass() -> None:
    """network_loss asks the subclass as well."""
    x, weight = torch.randn(3, 4).as_subclass(Whole), torch.randn(2, 4)
    target = torch.full((3, 2), -7.0)
    assert float(network_loss(x, target, [weight], None, "identity", "mse")) == 0.0


def nested() -> None:
    """A nested tensor of the older, strided kind, which has no shape."""
    rows, weight, bias = [torch.randn(n, 4) for n in (2, 5)], torch.randn(2, 4), torch.randn(2)
    answer = dense(torch.nested.nested_tensor(rows), weight, bias, "relu")
    for mine, row in zip(answer.unbind(), rows, strict=True):
        torch.testing.assert_close(mine, F.relu(F.linear(row, weight, bias)))


CASES: dict[str, Case] = {
    f"wrapped {activation} {which}": partial(wrapped, activation, which)
    for activation in ACTIVATION_NAMES
    for which in ("x", "w", "b", "xwb")
} | {case.__name__: case for case in (refused, overridden_linear, network_of_subclass, nested)}

if __name__ == "__main__":
    main(CASES)
