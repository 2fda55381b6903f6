"""Where an autograd Function cannot go, the same equations are composed of torch's own operators.

Each node of this package has the two forms. Derivatives of the composed form are PyTorch's.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F  # noqa: N812  torch's own spelling
from torch.overrides import has_torch_function

from torchmlp._compat.torch_internals import (
    forward_mode_is_on,
    function_modes,
    functorch_is_active,
    is_functionalized,
    is_tracing,
    no_dispatch,
)
from torchmlp.kernels.activations import activate
from torchmlp.kernels.dense import averaging_scale, dense_forward

PLAIN = frozenset((Tensor, Parameter, type(None)))


def is_composed(*tensors: Any) -> bool:
    """Whether these tensors, or the mode the program is in, ask for the composed form.

    - Forward-mode derivatives: nested ones are silently zero through a Function (torch 2.13).
    - Tensors of other types than torch's own (DTensor, subclasses, what a tracer hands over) know
      torch's operators and no Function.
    - An exported or traced program has to run where this package is not.
    - A torch whose private names have changed cannot be asked.
    - torch.func.functionalize has no rule for a Function, nor has Dynamo under torch.func.
    """
    if no_dispatch or forward_mode_is_on() or not _are_plain(tensors):
        return True
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting() or functorch_is_active()
    return is_tracing() or is_functionalized()


def is_foreign(x: Any, *tensors: Any) -> bool:
    """Whether torch's own operator has to decide what the arguments mean.

    A tensor with functions of its own for torch's (`__torch_function__`), a sparse or a nested one.

    Raises:
        TypeError: an argument is no tensor at all.
    """
    if _are_plain((x, *tensors)):
        return bool(x.layout != torch.strided or x.is_nested)
    others = tuple(t for t in (x, *tensors) if type(t) not in PLAIN)
    if has_torch_function(others):
        return True
    for other in others:
        if not isinstance(other, Tensor):
            raise TypeError(
                f"expected tensors, got {type(other).__module__}.{type(other).__name__}; convert "
                f"an array with torch.from_numpy(array), and to the weights' dtype with .float()"
            )
    return False


def _are_plain(tensors: Iterable[Any]) -> bool:
    return all(type(tensor) in PLAIN for tensor in tensors)


def is_watched() -> bool:
    """Whether a TorchFunctionMode wants to see every function of torch, and so this one."""
    return not (torch.compiler.is_compiling() or no_dispatch) and function_modes() > 0


def composed_dense(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, *, average: bool
) -> Tensor:
    """φ(x Wᵀ + b) in torch's operators; `average` divides the parameters' gradients by the rows."""
    if average:
        scale = averaging_scale(x.shape[:-1].numel())
        weight = _scale_gradient(weight, scale)
        bias = None if bias is None else _scale_gradient(bias, scale)
    if _are_plain((x, weight, bias)) and not is_foreign(x):
        return dense_forward(x, weight, bias, activation)[0]
    # The operator that other tensors know, and not its parts.
    return activate(F.linear(x, weight, bias), activation)


def _scale_gradient(parameter: Tensor, scale: float) -> Tensor:
    """The same values; derivatives with respect to them are multiplied by `scale`."""
    constant = parameter.detach()
    return constant + (scale * (parameter - constant)).nan_to_num()  # 0 of ∞ − ∞
