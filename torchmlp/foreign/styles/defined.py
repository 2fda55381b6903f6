"""What a module defines itself: its functions and its classes."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def functions_of(namespace: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """The functions that a module defines, in their order."""
    return {
        name: value
        for name, value in namespace.items()
        if inspect.isfunction(value) and value.__module__ == namespace.get("__name__")
    }


def classes_of(namespace: Mapping[str, Any]) -> dict[str, type]:
    """The classes that a module defines, in their order."""
    return {
        name: value
        for name, value in namespace.items()
        if inspect.isclass(value) and value.__module__ == namespace.get("__name__")
    }
