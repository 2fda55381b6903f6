"""Any computation in float64, whatever the dtypes it was written for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

WIDE = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
}
_NARROWING = {Tensor.float, Tensor.half, Tensor.bfloat16}


class InFloat64(TorchFunctionMode):
    """While active, every function of torch sees its floating-point tensors in float64.

    A finite difference needs all digits of float64; the network and the batch in a closure may be
    of float32, and are left as they are.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Widen what goes in; what changes its first argument in place keeps that one."""
        del types
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("__get__", "__set__", "__delete__"):
            return func(*args, **kwargs)
        if func in _NARROWING:
            func = Tensor.double
        kept = 1 if (name.endswith("_") and not name.endswith("__")) or name == "__setitem__" else 0
        args = (*args[:kept], *tree_map(_wide, args[kept:]))
        return func(*args, **tree_map(_wide, kwargs))


def _wide(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return WIDE.get(value, value)
    if isinstance(value, Tensor) and value.dtype in WIDE:
        return value.to(WIDE[value.dtype])
    return value
