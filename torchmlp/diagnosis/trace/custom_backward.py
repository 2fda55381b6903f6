"""Derivatives that are not torch's: autograd Functions, detached tensors, hooks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from torchmlp._compat.torch_internals import backward_hooks, forward_class, takes_context
from torchmlp.diagnosis.trace.trace import Trace

OWN = ("torchmlp.autograd.", "torchmlp.nn.")  # tested here against differences


def functions_of(loss: Tensor) -> list[type]:
    """The autograd Functions, not this package's own, that a loss was computed by."""
    found: dict[type, None] = {}
    seen, todo = set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        owner = forward_class(node)
        if owner is not None and not owner.__module__.startswith(OWN):
            found[owner] = None
        todo += [following for following, _ in node.next_functions]
    return list(found)


def by_hand(loss: Tensor, trace: Trace, model: nn.Module) -> list[str]:
    """What gives the graph another derivative than torch's."""
    names = [owner.__name__ for owner in functions_of(loss)]
    if detached(trace):
        names.append("detach")
    modules = model.modules()
    if trace.has_hooks or any(backward_hooks(module) for module in modules):
        names.append("hook")
    return names


def detached(trace: Trace) -> list[int]:
    """The calls of the model that cut the graph."""
    calls = [call for call in trace.calls if call.phase == "model"]
    after = [call.name for call in calls[1:]] + [""]
    return [
        call.index
        for call, following in zip(calls, after, strict=True)
        # Dropout's mask is made of a detached tensor, and is no cut.
        if call.name == "detach" and following != "empty_like"
    ]


@contextmanager
def differentiated_by_autograd(functions: list[type]) -> Iterator[None]:
    """The Functions' forward passes as they are, their derivatives by autograd."""
    applied: list[tuple[type, Any]] = [(owner, owner.__dict__.get("apply")) for owner in functions]
    for owner in functions:
        owner.apply = staticmethod(_plain(owner))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for owner, own in applied:
            if own is None:
                del owner.apply  # type: ignore[attr-defined]
            else:
                owner.apply = own  # type: ignore[attr-defined]


class _Context:
    """Takes what a forward pass saves, and keeps nothing."""

    needs_input_grad = (True,) * 64

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_kwargs: None


def _plain(owner: Any) -> Callable[..., Any]:
    with_context = takes_context(owner)

    def apply(*args: Any) -> Any:
        return owner.forward(_Context(), *args) if with_context else owner.forward(*args)

    return apply
