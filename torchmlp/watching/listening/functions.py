"""The functions of torch that a program calls, one by one."""

from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode

from torchmlp._compat.torch_internals import (
    function_mode_stack,
    is_device_mode,
    restack_function_modes,
)
from torchmlp.watching.listening.patches import hidden

# (function, its arguments by position, by name, what it returned)
Heard = Callable[[str, tuple[Any, ...], dict[str, Any], Any], None]


class FunctionListener(TorchFunctionMode):
    """Tells `heard` of every call of the functions whose names are in `wanted`.

    A property is `data` where it is read, `data=` where it is set.

    It lies below the modes of the user, whatever the order they are entered in: leaving a mode
    takes off the innermost one, and that must be the user's own.
    """

    def __init__(self, wanted: frozenset[str], heard: Heard) -> None:
        super().__init__()
        self.wanted, self.heard = wanted, heard

    @hidden
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call it, and tell."""
        del types
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(func.__self__, "__name__", "")
        elif name == "__set__":
            name = f"{getattr(func.__self__, '__name__', '')}="
        if name in self.wanted:
            self.heard(name, args, kwargs, result)
        return result

    @property
    def is_on(self) -> bool:
        """Whether it listens; not while a function that it was told of is being called."""
        return any(mode is self for mode in function_mode_stack())

    def enter(self) -> None:
        """Listen."""
        modes = function_mode_stack()
        modes.insert(sum(map(is_device_mode, modes[:1])), self)
        restack_function_modes(modes)

    def leave(self) -> None:
        """Listen no more, wherever in the stack this mode is."""
        modes = function_mode_stack()
        restack_function_modes([mode for mode in modes if mode is not self])
