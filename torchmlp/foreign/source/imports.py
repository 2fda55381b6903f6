"""Imports that wait until they are used, and that may fail: a file is wanted for its functions."""

import importlib
import importlib.util
import sys
from typing import Any

# Everything else waits: a plotting library or a data set takes seconds that nobody asked for.
AT_ONCE = {"numpy", "torch", "scipy", "autograd", "numba"}


class MissingImportError(ImportError):
    """Something that could not be imported was used."""


class Later:
    """A module, or a name in one, imported when it is first used.

    Where it is missing, it is still there as a decorator that changes nothing and as a base class
    that adds nothing; anything else raises `MissingImportError`.
    """

    def __init__(self, module: str, name: str | None = None) -> None:
        self.__dict__.update(_module=module, _name=name)

    def _found(self) -> Any:
        module, name = self._module, self._name
        shown = module if name is None else f"{module}.{name}"
        try:
            found: Any = importlib.import_module(module)
            if name is None:
                return found
            if hasattr(found, name):
                return getattr(found, name)
            return importlib.import_module(shown)
        except Exception as error:  # noqa: BLE001  whatever a library raises when it is imported
            raise MissingImportError(
                f"{shown} cannot be imported here ({type(error).__name__}: {error})"
            ) from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        try:
            found = self._found()
        except MissingImportError:
            module = self._module if self._name is None else f"{self._module}.{self._name}"
            return Later(module, name)
        return getattr(found, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What was imported is called; a missing decorator gives back what it decorates."""
        try:
            found = self._found()
        except MissingImportError:
            if len(args) == 1 and not kwargs and callable(args[0]):
                return args[0]  # a decorator
            raise
        return found(*args, **kwargs)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        """The class itself, where one inherits from it."""
        del bases
        try:
            return (self._found(),)
        except MissingImportError:
            return ()


def waits(module: str) -> bool:
    """Whether a module's import can wait: not where it is quick, or much used."""
    top = module.split(".", maxsplit=1)[0]
    return top not in AT_ONCE and top not in sys.stdlib_module_names
