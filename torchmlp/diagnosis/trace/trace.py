"""One pass through a network and its loss, function by function, and with functions replaced.

Torch hands every function that a program calls to a `TorchFunctionMode`, from modules or written
out, so that any network can be watched without a hook in it. A call's number in the pass is its
name: replacing call 7 changes that place and nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from torchmlp.autograd.dense import dense
from torchmlp.autograd.loss import mean_loss
from torchmlp.diagnosis.trace.op_names import (
    ACTIVATIONS,
    ALIASES,
    LOSSES,
    TORCHS_NAMES,
    WITH_WEIGHTS,
)
from torchmlp.kernels.activations import activate

# Answered with a number or a shape, or nothing: no step of the calculation.
_NO_VALUE = {"__get__", "__set__", "size", "dim", "numel", "stride", "item", "tolist", "backward"}


@dataclass
class Call:
    """A function of the pass.

    Attributes:
        index: its number in the pass.
        name: the function's, without underscores at its end.
        args: its tensors, in order.
        output: what it returned.
        options: its other arguments, by name where they were given so; positional ones by number.
        weight: the name of the parameter it multiplies by, "" if none.
        phase: "model" or "loss".
        module: the name of the innermost module that called it, "" for the model itself.
        is_leaf: whether that module has neither modules nor parameters of its own.
    """

    index: int
    name: str
    args: list[Tensor]
    output: Tensor
    options: dict[str, Any]
    weight: str
    phase: str
    module: str = ""
    is_leaf: bool = False

    @property
    def axis(self) -> int | None:
        """The axis it was given, as a negative number; None where it was given none."""
        axis = self.options.get("dim", self.options.get("axis", self.options.get("1")))
        if isinstance(axis, tuple | list) and len(axis) == 1:
            axis = axis[0]
        if not isinstance(axis, int) or isinstance(axis, bool) or not self.args:
            return None
        return axis if axis < 0 else axis - self.args[0].ndim


Edits = Mapping[int, Callable[..., Any]]


class Trace(TorchFunctionMode):
    """Records a pass, with some of its calls replaced.

    Args:
        model: whose parameters tell a layer's weight.
        edits: by a call's index: what is called in its place, with the function and its arguments.
        keep: whether the calls are kept; a trial only replaces.

    Attributes:
        calls: the calls that returned numbers, in order.
        failed: the name of the call that raised, "" if none did.
        entered: what the first loss of torch's was given, where the network had not ended before.
        output: the network's, once it is known.
        has_hooks: whether a tensor was given a gradient hook.
        foreign: parameters that the network computed with and that are not the model's, by id.
    """

    def __init__(self, model: nn.Module, edits: Edits | None = None, *, keep: bool = True) -> None:
        super().__init__()
        self.names = {
            p.untyped_storage().data_ptr(): name
            for name, p in model.named_parameters()
            if p.untyped_storage().nbytes()
        }
        self.edits, self.keep, self.count = edits or {}, keep, 0
        self.calls: list[Call] = []
        self.phase, self.failed = "model", ""
        self.has_hooks = False
        self.foreign: dict[int, nn.Parameter] = {}
        self._own = {id(p) for p in model.parameters()}
        self.entered: Tensor | None = None
        self.output: Tensor | None = None
        self._modules = {id(module): name for name, module in model.named_modules()}
        self._inside: list[nn.Module] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> "Trace":  # noqa: PYI034  beartype reads no Self here
        """Record what is called from here on, and by which module."""
        if self.keep:
            self._hooks = [
                register_module_forward_pre_hook(lambda module, _x: self._inside.append(module)),
                register_module_forward_hook(self._leave, always_call=True),
            ]
        super().__enter__()  # type: ignore[no-untyped-call]  # torch's
        return self

    def __exit__(self, *raised: object) -> None:
        """Record no more."""
        super().__exit__(*raised)  # type: ignore[no-untyped-call]  # torch's
        for hook in self._hooks:
            hook.remove()

    def _leave(self, module: nn.Module, _x: Any, _y: Any) -> None:
        while self._inside and self._inside.pop() is not module:
            pass

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call it, or what stands in its place, and note what it made."""
        kwargs = kwargs or {}
        if func is dense:
            return self._dense(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if func is mean_loss:
            name = TORCHS_NAMES[args[2] if len(args) > 2 else kwargs["loss"]]  # noqa: PLR2004
        self.has_hooks = self.has_hooks or name == "register_hook"
        if name in _NO_VALUE:
            return func(*args, **kwargs)
        plain = name.rstrip("_") if not name.startswith("__") else name
        plain = ALIASES.get(plain, plain)
        if plain in ACTIVATIONS:
            func, args, kwargs = _not_in_place(func, name, args, kwargs)
        return self._note(plain, func, args, kwargs)

    def _dense(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, *, average: bool
    ) -> Tensor:
        """This package's layer as its two halves, so that z and a are seen."""
        del average  # the same values
        z: Tensor = self._note("linear", torch.nn.functional.linear, (x, weight, bias), {})
        if activation == "identity":
            return z
        name = ALIASES.get(activation, activation)
        a: Tensor = self._note(name, lambda z: activate(z, activation), (z,), {})
        return a

    def _note(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        index = self.count
        self.count += 1
        if name in LOSSES and self.phase == "model" and self.entered is None:
            # In a whole training step nobody else says where the network ends.
            self.entered = next((a for a in args if isinstance(a, Tensor)), None)
            self.phase = "loss"
        try:
            edit = self.edits.get(index)
            result = edit(func, *args, **kwargs) if edit else func(*args, **kwargs)
        except Exception:
            self.failed = name
            raise
        if not self.keep:
            return result
        output = result[0] if isinstance(result, tuple) and result else result
        if isinstance(output, Tensor) and output.is_floating_point():
            tensors = [a for a in _flat((*args, *kwargs.values())) if isinstance(a, Tensor)]
            if self.phase == "model":
                self.foreign |= {
                    id(p): p
                    for p in tensors
                    if isinstance(p, nn.Parameter) and id(p) not in self._own
                }
            options = {str(k): a for k, a in enumerate(args) if not isinstance(a, Tensor)}
            options |= {k: a for k, a in kwargs.items() if not isinstance(a, Tensor)}
            weight = self._weight(tensors) if name in WITH_WEIGHTS else ""
            owner = self._inside[-1] if self._inside else None
            module = self._modules.get(id(owner), "")
            leaf = bool(module) and owner is not None and not _has_parts(owner)
            self.calls.append(
                Call(index, name, tensors, output, options, weight, self.phase, module, leaf)
            )
        return result

    def _weight(self, tensors: list[Tensor]) -> str:
        """The parameter among the tensors with two axes or more, a bias otherwise."""
        for tensor in tensors:
            name = self.names.get(tensor.untyped_storage().data_ptr(), "")
            if name and tensor.ndim > 1:
                return name
        return ""


def _has_parts(module: nn.Module) -> bool:
    return any(True for _ in module.children()) or any(True for _ in module.parameters())


def _flat(values: Any) -> list[Any]:
    return [
        item
        for value in values
        for item in (_flat(value) if isinstance(value, tuple | list) else [value])
    ]


def _not_in_place(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    """The same without overwriting z, which is looked at afterwards."""
    if kwargs.get("inplace"):
        kwargs = {**kwargs, "inplace": False}
    if name.endswith("_") and not name.startswith("__"):
        owner = torch.Tensor if isinstance(getattr(func, "__objclass__", None), type) else None
        plain = getattr(owner or torch, name.rstrip("_"), None) or getattr(
            torch.nn.functional, name.rstrip("_"), None
        )
        func = plain or func
    # relu(x, True): the flag given by position.
    if len(args) > 1 and args[-1] is True:
        args = (*args[:-1], False)
    return func, args, kwargs
