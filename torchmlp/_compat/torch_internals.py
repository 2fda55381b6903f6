"""Torch's private names that this package reads, one function each; read in torch 2.13 and 2.14.

Where a later torch has renamed one, `import torchmlp` still works. What needs the name takes a
slower way round, and `no_dispatch` or `no_engine` says in a sentence why.
"""

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as all_modules
from torch.optim import SGD, Optimizer
from torch.optim import optimizer as all_optimizers


def _find(path: str, start: Any = torch) -> Any:
    for part in path.split("."):
        start = getattr(start, part, None)
    return start


def _missing(names: dict[str, Any]) -> str:
    """In a sentence, the first name that stands for nothing; "" where none does."""
    lost = next((name for name, value in names.items() if value is None), "")
    return f"torch {torch.__version__} has no {lost}, which torchmlp knows from 2.14" * bool(lost)


# How torch looks at a call: whether a Function may stand for the operators, on the hot path. So
# these are torch's own functions, and not calls of them.

function_modes: Callable[[], int] = _find("_C._len_torch_function_stack")
functorch_is_active: Callable[[], bool] = _find("_C._are_functorch_transforms_active")
is_tracing: Callable[[], bool] = _find("_C._is_tracing")
_interpreters: Callable[[], Any] = _find("_C._functorch.get_interpreter_stack")
_transform_type: Any = _find("_C._functorch.TransformType")

no_dispatch = _missing(
    {
        "torch._C._len_torch_function_stack": function_modes,
        "torch._C._are_functorch_transforms_active": functorch_is_active,
        "torch._C._is_tracing": is_tracing,
        "torch._C._functorch.get_interpreter_stack": _interpreters,
        "torch._C._functorch.TransformType": _transform_type,
        "torch.autograd.forward_ad._current_level": _find("_current_level", forward_ad),
    }
)


def forward_mode_is_on() -> bool:
    """Whether forward-mode derivatives are being computed."""
    return bool(forward_ad._current_level >= 0)


def is_functionalized() -> bool:
    """Whether torch.func.functionalize is at work."""
    return functorch_is_active() and any(
        interpreter.key() == _transform_type.Functionalize for interpreter in _interpreters()
    )


def version_of(tensor: Tensor) -> int:
    """How often a tensor was changed in place; always 0 where torch does not say."""
    return getattr(tensor, "_version", 0)


dispatch_modes: Callable[[], int] = _find("_C._len_torch_dispatch_stack") or (lambda: 0)


# A view without the bookkeeping of one.
unsafe_view: Callable[..., Tensor] = _find("ops.aten._unsafe_view.default") or torch.reshape


# What the engine looks at before every step.


def module_dicts(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """A module's own children and parameters."""
    return module._modules, module._parameters


def buffers_of(module: nn.Module) -> dict[str, Any]:
    """A module's own buffers."""
    return module._buffers


def module_hooks(module: nn.Module) -> list[dict[Any, Any]]:
    """Before and after forward and backward."""
    return [getattr(module, name) for name in MODULE_HOOKS]


def backward_hooks(module: nn.Module) -> bool:
    """Whether a module has hooks for its backward pass."""
    return any(getattr(module, name, None) for name in MODULE_HOOKS if "backward" in name)


def gradient_hooks(tensor: Tensor) -> list[Any]:
    """A tensor's hooks, on its gradient and after it is accumulated; None for none."""
    return [getattr(tensor, name, None) for name in GRADIENT_HOOKS]


def optimizer_hooks(optimizer: Optimizer) -> list[dict[Any, Any]]:
    """Before and after a step, of this optimizer and of all."""
    return [
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        all_optimizers._global_optimizer_pre_hooks,
        all_optimizers._global_optimizer_post_hooks,
    ]


def mark_stepped(optimizer: Optimizer) -> None:
    """Tell a scheduler that the optimizer has taken its step, which it warns of otherwise."""
    optimizer._opt_called = True  # type: ignore[attr-defined]  # set by torch, declared nowhere


# Tells autograd that tensors were written into; without torch's own check of the arguments.
increment_version: Callable[[list[Tensor]], None] = (
    _find("_C._increment_version") or torch.autograd.graph.increment_version
)


def has_no_memory(tensor: Tensor) -> bool:
    """Whether a tensor only stands for its numbers: zeros never stored, or functionalized."""
    return is_zero_tensor(tensor) or torch._is_functional_tensor(tensor)


def is_zero_tensor(tensor: Tensor) -> bool:
    """Whether a tensor is zeros that were never stored."""
    return tensor._is_zerotensor()


def is_of_a_transform(tensor: Tensor) -> bool:
    """Whether a tensor belongs to a transform of torch.func."""
    return bool(_find("_C._functorch.is_functorch_wrapped_tensor")(tensor))


def overlaps_itself(tensor: Tensor) -> bool:
    """Whether elements of a tensor share a place."""
    return torch._debug_has_internal_overlap(tensor) == 1


# The address of the C++ tensor that a Python tensor stands for; asked twice in every step.
handle_of: Callable[[Tensor], int] = attrgetter("_cdata")


def into_buffer(name: str) -> Callable[..., Any]:
    """An activation or loss of torch's that takes `out`."""
    # torch.nn.functional's own hand no `out` through; the operator of the same arguments does.
    found: Callable[..., Any] = _find(f"_C._nn.{name}") or getattr(torch.ops.aten, name).out
    return found


MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
GRADIENT_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
hooks_of_all_modules: list[dict[Any, Any]] = [
    found
    for name in MODULE_HOOKS
    if (found := getattr(all_modules, f"_global{name}", None)) is not None
]


@cache
def no_engine() -> str:
    """Why a step without autograd cannot be looked after with this torch; "" where it can."""
    module, parameter = nn.Module(), nn.Parameter(torch.zeros(1))
    optimizer = SGD([parameter])
    names = {
        **{f"torch.nn.Module.{n}": _find(n, module) for n in (*MODULE_HOOKS, "_modules")},
        "torch.nn.Module._parameters": _find("_parameters", module),
        **{f"torch.Tensor.{n}": _find(n, Tensor) for n in (*GRADIENT_HOOKS, "_is_zerotensor")},
        "torch.Tensor._cdata": _find("_cdata", parameter),
        "torch._is_functional_tensor": _find("_is_functional_tensor"),
        "torch._debug_has_internal_overlap": _find("_debug_has_internal_overlap"),
        "torch._C._functorch.is_functorch_wrapped_tensor": _find(
            "_C._functorch.is_functorch_wrapped_tensor"
        ),
        "torch.nn.modules.module._global_forward_hooks": (
            hooks_of_all_modules if len(hooks_of_all_modules) == len(MODULE_HOOKS) else None
        ),
        **{
            f"torch.optim.Optimizer.{name}": _find(name, optimizer)
            for name in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
        },
        **{
            f"torch.optim.optimizer.{name}": _find(name, all_optimizers)
            for name in ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
        },
    }
    return _missing(names)


# What a diagnosis asks of autograd Functions.


def forward_class(node: Any) -> Any:
    """The autograd Function of a node of the graph; None for torch's own nodes."""
    return getattr(node, "_forward_cls", None)


def takes_context(function: Any) -> bool:
    """Whether an autograd Function's forward is handed the context itself."""
    base = _find("autograd.function._SingleLevelFunction") or torch.autograd.Function
    return bool(function.setup_context is base.setup_context)


# What torch.autograd.grad calls, which switches a torch function mode off; None where it is gone.
run_backward: Callable[..., Any] | None = _find(
    "autograd.variable.Variable._execution_engine.run_backward"
)


# What a loop that is watched must pass.

# The module and the name under which torch.autograd's backward and grad find the engine.
autograd_with_engine: tuple[Any, str] | None = (
    (torch.autograd, "_engine_run_backward")
    if hasattr(torch.autograd, "_engine_run_backward")
    else None
)
# The iterator whose __next__ every DataLoader draws its batches by.
loader_iterator: Any = _find("utils.data.dataloader._BaseDataLoaderIter")


def function_mode_stack() -> list[Any]:
    """The torch function modes that are on, the outermost first."""
    return [torch._C._get_function_stack_at(k) for k in range(function_modes())]


def restack_function_modes(modes: list[Any]) -> None:
    """Put these modes in the place of those that are on, the outermost first."""
    for _ in range(function_modes()):
        torch._C._pop_torch_function_stack()
    for mode in modes:
        torch._C._push_on_torch_function_stack(mode)


def is_device_mode(mode: Any) -> bool:
    """Whether a mode is torch.device's, which torch keeps outermost."""
    return type(mode).__name__ == "DeviceContext"


def is_last_step_hook(handle: Any) -> bool:
    """Whether a hook of all optimizers is called last, so that it can be removed meanwhile."""
    return bool(next(reversed(all_optimizers._global_optimizer_post_hooks), None) == handle.id)
