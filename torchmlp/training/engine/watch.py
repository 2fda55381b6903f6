"""Whether Python objects and tensors are still what they were: asked before every step.

What is expected is a list, made where a step is made ready and gone through at each step: in C++ in
the time of a few attribute look-ups, else in Python.
"""

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from operator import attrgetter
from typing import Any, NamedTuple

from torch import Tensor


class Kind(IntEnum):
    """What is asked of an owner; by its number in step.cpp."""

    ATTRIBUTE = 0  # owner.name is value
    ITEM = 1  # of a dict: owner[name] is value, or missing where value is MISSING
    ELEMENT = 2  # of a list: owner[number] is value
    LENGTH = 3  # len(owner) == number
    ANSWER = 4  # owner.name() is value


MISSING = object()


class Expectation(NamedTuple):
    """One answer that is expected."""

    kind: Kind
    owner: Any
    name: str = ""
    value: Any = None
    number: int = 0

    def is_met(self) -> bool:
        """Whether it is the answer now."""
        kind, owner, name, value, number = self
        if kind is Kind.LENGTH:
            return len(owner) == number
        if kind is Kind.ITEM:
            return owner.get(name, MISSING) is value
        if kind is Kind.ELEMENT:
            return number < len(owner) and owner[number] is value
        found: Any = getattr(owner, name, MISSING)
        return (found() if kind is Kind.ANSWER else found) is value


class _Expectation(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("owner", "name", "value")),
        ("number", ctypes.c_int64),
        ("kind", ctypes.c_int),
    ]


class Watch:
    """Looks out for changes.

    Args:
        expectations: of objects.
        tensors: whose elements are to stay where they are: their addresses, shapes, strides, dtypes
            and the sizes of their storages.
        compiled: from `library.load`; None asks in Python.
    """

    def __init__(
        self,
        expectations: Sequence[Expectation],
        tensors: Sequence[Tensor],
        compiled: ctypes.CDLL | None = None,
    ) -> None:
        signs = [Expectation(Kind.ANSWER, t, "is_neg", t.is_neg()) for t in tensors]
        self.expectations, self.tensors = [*expectations, *signs], list(tensors)
        self._impls = [*map(_impl, self.tensors)]
        self._places: list[list[Any]] | None = None
        if compiled is None or not compiled.can_watch():
            self._places = self._ask()
            return
        held = ctypes.PyDLL(compiled._name)  # noqa: SLF001  with the GIL, for Python's objects
        count, own = len(self.expectations), (_Expectation * len(self.expectations))()
        for c, expectation in zip(own, self.expectations, strict=True):
            kind, owner, name, value, number = expectation
            c.kind, c.owner, c.name, c.number = kind, id(owner), id(name), number
            c.value = None if value is MISSING else id(value)
        places = ctypes.create_string_buffer(compiled.size_of_place() * len(tensors))
        impls = (ctypes.c_void_p * len(tensors))(*self._impls)
        compiled.remember_places(impls, len(tensors), places)
        self._arguments: tuple[Any, ...] = (own, count, places, len(tensors))
        self._has_changed: Any = held.has_changed

    def has_changed(self) -> bool:
        """Whether one expectation is not met any more, or a tensor's elements are elsewhere."""
        if [*map(_impl, self.tensors)] != self._impls:  # swap_tensors
            return True
        if self._places is None:
            return bool(self._has_changed(*self._arguments))
        return self._ask() != self._places or not all(e.is_met() for e in self.expectations)

    def _ask(self) -> list[list[Any]]:
        return [[*map(question, self.tensors)] for question in _QUESTIONS]


_impl = attrgetter("_cdata")  # the address of torch's own object under the tensor
_QUESTIONS: tuple[Any, ...] = (
    Tensor.data_ptr,
    Tensor.size,
    Tensor.stride,
    attrgetter("dtype"),
    lambda tensor: tensor.untyped_storage().nbytes(),
)
