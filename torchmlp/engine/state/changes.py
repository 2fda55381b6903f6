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
    name: Any = ""
    value: Any = None
    number: int = 0


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
        compiled: from `build.load`; None asks in Python.
    """

    def __init__(
        self,
        expectations: Sequence[Expectation],
        tensors: Sequence[Tensor],
        compiled: ctypes.CDLL | None = None,
    ) -> None:
        signs = [Expectation(Kind.ANSWER, t, "is_neg", t.is_neg()) for t in tensors]
        self.asked = list(expectations)
        self.expectations, self.tensors = [*expectations, *signs], list(tensors)
        self._impls = [*map(_impl, self.tensors)]
        self._by_kind: list[list[Expectation]] = []  # where Python asks
        self._compiled = compiled
        if compiled is None or not compiled.can_watch():
            everything = self.expectations
            self._by_kind = [[e for e in everything if e.kind is kind] for kind in Kind]
            self._places = self._ask()
            return
        held = ctypes.PyDLL(compiled._name)  # noqa: SLF001  with the GIL, for Python's objects
        count = len(self.expectations)
        self._own = (_Expectation * count)()
        for c, expectation in zip(self._own, self.expectations, strict=True):
            kind, owner, name, value, number = expectation
            c.kind, c.owner, c.name, c.number = kind, id(owner), id(name), number
            c.value = None if value is MISSING else id(value)
        self._known = self._remembered(self.tensors)
        self.arguments = (
            *(ctypes.addressof(self._own), count),
            *(ctypes.addressof(self._known), len(tensors)),
        )  # as step.cpp takes them
        self._has_changed: Any = held.has_changed
        self._has_changed.argtypes = [ctypes.c_void_p, ctypes.c_int] * 2

    @property
    def is_compiled(self) -> bool:
        """Whether C++ asks."""
        return not self._by_kind

    def places_of(self, tensors: Sequence[Tensor]) -> list[Any]:
        """Of each tensor, where it lies, as step.cpp remembers it."""
        return [self._remembered([tensor]) for tensor in tensors]

    def _remembered(self, tensors: Sequence[Tensor]) -> Any:
        assert self._compiled is not None
        places = ctypes.create_string_buffer(self._compiled.size_of_place() * len(tensors))
        impls = (ctypes.c_void_p * len(tensors))(*map(_impl, tensors))
        self._compiled.remember_places(impls, len(tensors), places)
        return places

    def are_swapped(self) -> bool:
        """Whether a tensor's elements have become another one's (torch.utils.swap_tensors)."""
        return [*map(_impl, self.tensors)] != self._impls

    def has_changed(self) -> bool:
        """Whether one expectation is not met any more, or a tensor's elements are elsewhere."""
        if self.are_swapped():
            return True
        if not self._by_kind:
            return bool(self._has_changed(*self.arguments))
        return not self._are_met() or self._ask() != self._places

    def _are_met(self) -> bool:
        attributes, items, elements, lengths, answers = self._by_kind
        # Loops that do one thing: `all` over a generator takes three times as long.
        for _, owner, name, value, _ in items:
            if owner.get(name, MISSING) is not value:
                return False
        for _, owner, _, _, number in lengths:
            if len(owner) != number:
                return False
        for _, owner, _, value, number in elements:
            if owner[number] is not value:
                return False
        for _, owner, name, value, _ in attributes:
            if getattr(owner, name) is not value:
                return False
        return all(getattr(owner, name)() is value for _, owner, name, value, _ in answers)

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
