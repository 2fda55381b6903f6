"""Listening where every training loop must pass, and telling the rules what was heard.

Modules are heard when they are called, backward passes when autograd's engine starts, optimizers,
schedulers, loaders and clipping by their methods. The functions between are heard one by one for
the first backward passes, and in the first evaluations after them: that is what costs time.
"""

import os
import random
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.data import DataLoader

from torchmlp._compat.torch_internals import (
    autograd_with_engine,
    dispatch_modes,
    function_mode_stack,
    function_modes,
    functorch_is_active,
    is_device_mode,
    is_last_step_hook,
    is_tracing,
    loader_iterator,
    restack_function_modes,
)
from torchmlp.watching.listening.functions import FunctionListener
from torchmlp.watching.listening.patches import Patches
from torchmlp.watching.seen.loop import Backward, Call, Graph, Loop
from torchmlp.watching.seen.sites import applied_at, unrecorded_at, users_site

# What a rule may hear: a method of this name takes it.
EVENTS = (
    *("model_called", "function_called", "backward_started", "backward_ended", "step_started"),
    *("step_ended", "gradients_cleared", "optimizer_made", "scheduler_stepped", "clipped"),
    *("mode_set", "loader_started", "batch_drawn", "initialized", "loaded", "seeded"),
)
SITES = 10  # backward passes and steps of which one's line is looked up, once the loop is known
EVALUATIONS = 3  # heard function by function after the first backward passes
# In evaluation they call kernels of their own, unless somebody listens to their functions.
WITH_KERNELS = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)


class Listener:
    """Listens from `start` to `stop`, and tells rules by their methods named after `EVENTS`.

    Attributes:
        loop: what is known so far.
        cannot: what cannot be watched, in a sentence each.
        silent: nothing is heard while this is not 0.
    """

    def __init__(self, loop: Loop, rules: Iterable[Any], *, limit: int | None = None) -> None:
        self.loop, self.limit, self.is_on = loop, limit, False
        self.cannot: list[str] = []
        self.at_limit: Callable[[], None] = lambda: None
        rules = list(rules)
        self._told: dict[str, list[Callable[..., None]]] = {
            event: [getattr(rule, event) for rule in rules if hasattr(rule, event)]
            for event in EVENTS
        }
        self._told_always = {
            event: [told for told in methods if event not in _only_close(told)]
            for event, methods in self._told.items()
        }
        wanted = frozenset[str]().union(*(getattr(rule, "functions", ()) for rule in rules))
        self._functions = FunctionListener(wanted, self._function)
        self._evaluations = 0
        self._patches, self._handles = Patches(), list[Any]()
        self._stack: list[nn.Module] = []
        self._inner: list[nn.Module] = []
        self._thread = threading.get_ident()
        self.silent = 0
        self._mode_is_on = self._is_in_backward = self._has_compiled = False
        self._last_trained: Callable[[], nn.Module | None] = lambda: None

    def start(self) -> None:
        """Listen from now on, in this thread."""
        self.is_on = True
        replace = self._patches.replace
        replace(nn.Module, "__init__", self._around_making)
        replace(nn.Module, "register_parameter", self._around_registering)
        replace(nn.Module, "__call__", self._around_call)
        replace(nn.Module, "train", self._around_train)
        replace(nn.Module, "zero_grad", self._around_clearing)
        replace(nn.Module, "load_state_dict", self._around_loading)
        replace(Optimizer, "__init__", self._around_optimizer)
        replace(Optimizer, "zero_grad", self._around_clearing)
        replace(DataLoader, "__init__", self._around_making)
        replace(DataLoader, "__iter__", self._around_loader)
        for owner, name in ((torch, "manual_seed"), (np.random, "seed"), (random, "seed")):
            replace(owner, name, self._around_seed)
        replace(torch, "compile", self._around_compile)
        for name in ("clip_grad_norm_", "clip_grad_value_"):
            for owner in (nn.utils, nn.utils.clip_grad):
                replace(owner, name, self._around_clipping)
        for name, value in list(vars(nn.init).items()):
            if name.endswith("_") and not name.startswith("_") and callable(value):
                replace(nn.init, name, self._around_initializing)
        for scheduler in vars(lr_scheduler).values():
            if isinstance(scheduler, type) and issubclass(scheduler, lr_scheduler.LRScheduler):
                replace(scheduler, "step", self._around_scheduler)
        if autograd_with_engine is not None:
            replace(*autograd_with_engine, self._around_backward)
        if loader_iterator is not None:
            replace(loader_iterator, "__next__", self._around_batch)
        self._handles = [
            register_optimizer_step_pre_hook(self._step_started),
            register_optimizer_step_post_hook(self._step_ended),
        ]
        self._mode_on()
        _LISTENING.add(self)

    def stop(self, *, in_step: bool = False) -> None:
        """Leave everything as it was.

        Args:
            in_step: whether torch is going through the hooks of a step. If there are others after
                ours, it can be removed only later, when this is called again.
        """
        self.is_on = False
        self._mode_off()
        self._patches.undo()
        self._stack.clear()
        self.loop.calls = []
        for handle in self._handles:
            if not in_step or handle is not self._handles[-1] or is_last_step_hook(handle):
                handle.remove()
        _LISTENING.discard(self)

    # The functions of torch.

    def _mode_on(self) -> None:
        # What is compiled would be compiled anew for a mode, and with it.
        if not self._mode_is_on and not self._has_compiled:
            self._functions.enter()
            self._mode_is_on = True

    def _mode_off(self) -> None:
        # While a function that was heard is being called (loss.backward()), torch has taken the
        # mode off, and puts it back: what comes next takes it off.
        if self._mode_is_on and self._functions.is_on:
            self._functions.leave()
            self._mode_is_on = False

    def _function(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        if self._hears():
            self._tell("function_called", name, args, kwargs, result, self._stack)

    def _hears(self) -> bool:
        return (
            self.is_on
            and not self.silent
            and threading.get_ident() == self._thread
            # What the rules compute would be in a transform, a trace, an export, a user's count.
            and not (functorch_is_active() or is_tracing() or dispatch_modes())
        )

    def _listeners(self, event: str) -> list[Callable[..., None]]:
        return (self._told if self.loop.is_told else self._told_always)[event]

    def _tell(self, event: str, *values: Any) -> None:
        if not (listeners := self._listeners(event)):
            return
        if function_modes():
            # The rules' own questions are heard by nobody, us or the user.
            with torch._C.DisableTorchFunction():  # noqa: SLF001  there is no public name
                self._tell_all(listeners, values)
        else:
            self._tell_all(listeners, values)

    def _tell_all(self, listeners: list[Callable[..., None]], values: tuple[Any, ...]) -> None:
        for told in listeners:
            try:
                told(*values)
            except Exception as error:  # noqa: BLE001  nothing that a rule meets may stop the script
                self._give_up(told, error)

    def _give_up(self, told: Any, error: Exception) -> None:
        """Tell a rule no more: what it has met, it was not made for."""
        rule = told.__self__
        for told_of in (self._told, self._told_always):
            for event, methods in told_of.items():
                told_of[event] = [m for m in methods if m.__self__ is not rule]  # type: ignore[attr-defined]  # methods
        cause = getattr(rule, "cause", "") or type(rule).__name__
        what = str(error).partition("\n")[0]
        self.cannot.append(f"{cause} is not looked for ({type(error).__name__}: {what})")

    @contextmanager
    def _unheard(self) -> Iterator[None]:
        self.silent += 1
        try:
            yield
        finally:
            self.silent -= 1

    # Modules.

    def _around_making(self, original: Any) -> Any:
        def made(thing: Any, *args: Any, **kwargs: Any) -> None:
            if self._hears():
                self.loop.note_made(thing, users_site(thing))
            original(thing, *args, **kwargs)

        return made

    def _around_registering(self, original: Any) -> Any:
        def registered(module: nn.Module, name: str, parameter: Any) -> None:
            original(module, name, parameter)
            if parameter is not None and self._hears():
                self.loop.note_made(parameter, users_site())

        return registered

    def _around_call(self, original: Any) -> Any:
        stack, thread = self._stack, self._thread
        get_ident, is_compiling = threading.get_ident, torch.compiler.is_compiling

        def called(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if is_compiling() or (stack and not self._mode_is_on):
                return original(module, *args, **kwargs)
            if get_ident() != thread:
                return original(module, *args, **kwargs)
            if stack:
                return self._call_inner(original, module, args, kwargs)
            if self._is_in_backward or not self._hears():
                return original(module, *args, **kwargs)
            self._inner = []
            is_evaluation = self._begins_evaluation(module)
            stack.append(module)
            try:
                output = self._call(original, module, args, kwargs)
            finally:
                stack.clear()
                if is_evaluation:
                    self._mode_off()
            if self._hears():
                self._model_called(module, (*args, *kwargs.values()), output)
            return output

        return called

    def _call_inner(self, original: Any, module: nn.Module, args: Any, kwargs: Any) -> Any:
        if self.loop.is_close:
            self._inner.append(module)
            if not torch.is_grad_enabled() and self._stack[0].training:
                self._note_unrecorded(module)
        self._stack.append(module)
        try:
            return self._call(original, module, args, kwargs)
        finally:
            if self._stack:
                self._stack.pop()

    def _note_unrecorded(self, module: nn.Module) -> None:
        if id(module) not in self.loop.unrecorded and (site := unrecorded_at()) is not None:
            self.loop.unrecorded[id(module)] = site

    def _call(self, original: Any, module: nn.Module, args: Any, kwargs: Any) -> Any:
        if not self._mode_is_on or not _is_on_its_own(module):
            return original(module, *args, **kwargs)
        self._mode_off()
        try:
            return original(module, *args, **kwargs)
        finally:
            if self.is_on:
                self._mode_on()

    def _begins_evaluation(self, module: nn.Module) -> bool:
        """Whether the functions of this call are heard, though the loop is known by now."""
        if self._mode_is_on:
            if self.loop.is_close:
                return False
            self._mode_off()
        if module.training or self._evaluations >= EVALUATIONS:
            return False
        self._evaluations += 1
        self._mode_on()
        return True

    def _model_called(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        loop = self.loop
        grad = torch.is_grad_enabled()
        # A call like the last one tells nothing new once the loop is known: one step after another.
        kind = module if grad and module.training else None
        is_new = loop.is_told or kind is None or kind is not self._last_trained()
        if is_new:
            self._last_trained = (lambda: None) if kind is None else weakref.ref(kind)
        site = users_site() if is_new else None
        call = Call(module, args, output, site, grad, loop.calls_made, self._inner)
        loop.calls_made += 1
        if is_new:
            self._tell("model_called", call)
        loop.add_call(call)

    def _around_train(self, original: Any) -> Any:
        def train(module: nn.Module, mode: bool = True) -> Any:
            if not self._hears():
                return original(module, mode)
            self._tell("mode_set", module, mode, users_site())
            with self._unheard():  # its children are set with it
                return original(module, mode)

        return train

    def _around_loading(self, original: Any) -> Any:
        def load(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            result = original(module, *args, **kwargs)
            if self._hears():
                self._tell("loaded", module, users_site())
            return result

        return load

    def _around_initializing(self, original: Any) -> Any:
        def initialize(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if self._hears() and isinstance(result, Tensor):
                self._tell("initialized", result, applied_at())
            return result

        return initialize

    # Gradients and steps.

    def _around_backward(self, original: Any) -> Any:
        loop = self.loop

        def run_backward(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            # A backward pass within one is autograd's: a checkpoint's, a Function's.
            if self._is_in_backward or not self._hears():
                return original(outputs, *args, **kwargs)
            roots = [root for root in outputs if isinstance(root, Tensor)]
            loop.backwards += 1
            graph = Graph(roots) if loop.is_sampled else None
            is_due = loop.is_close or loop.backwards % SITES == 0
            site = users_site() if is_due else loop.backward_site
            accumulates = bool(kwargs.get("accumulate_grad", True))
            backward = Backward(roots, site, accumulates, graph, loop.calls)
            loop.backward_site = site
            self._tell("backward_started", backward)
            self._is_in_backward = True
            try:
                result = original(outputs, *args, **kwargs)
            except RuntimeError:
                loop.failed_backward = True
                raise
            finally:
                self._is_in_backward = False
            self._tell("backward_ended", backward)
            loop.calls = []
            return result

        return run_backward

    def _around_clearing(self, original: Any) -> Any:
        def zero_grad(owner: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(owner, *args, **kwargs)
            if self._listeners("gradients_cleared") and self._hears():
                self._tell("gradients_cleared", owner, users_site())
            return result

        return zero_grad

    def _around_optimizer(self, original: Any) -> Any:
        def made(optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            if self._hears():
                self.loop.look_again()
                if self.loop.is_close:
                    self._mode_on()
                self._tell("optimizer_made", self.loop.seen(optimizer, users_site(optimizer)))

        return made

    def _step_started(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if not self._hears():
            return
        seen = self.loop.seen(optimizer)
        if self.loop.is_close or self.loop.steps % SITES == 0:
            seen.stepped = users_site()
        self._tell("step_started", seen, optimizer)

    def _step_ended(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if not self._hears():
            return
        seen = self.loop.seen(optimizer)
        seen.steps += 1
        self.loop.steps += 1
        self._tell("step_ended", seen, optimizer)
        if self.limit is not None and self.loop.steps >= self.limit:
            self.at_limit()

    # torchmlp's own engine, which computes the step by itself, need not call them.
    _step_started.only_listens = _step_ended.only_listens = True  # type: ignore[attr-defined]

    def _around_scheduler(self, original: Any) -> Any:
        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._hears():
                return original(scheduler, *args, **kwargs)
            with self._unheard():  # schedulers that step others, and the first step of all
                result = original(scheduler, *args, **kwargs)
            self._tell("scheduler_stepped", scheduler, users_site())
            return result

        return step

    def _around_clipping(self, original: Any) -> Any:
        def clip(parameters: Any, limit: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._hears():
                return original(parameters, limit, *args, **kwargs)
            with self._unheard():  # nn.utils.clip_grad_norm_ is also nn.utils.clip_grad's
                result = original(parameters, limit, *args, **kwargs)
            self._tell("clipped", limit, users_site())
            return result

        return clip

    # Data.

    def _around_loader(self, original: Any) -> Any:
        def iterate(loader: Any) -> Any:
            if self._hears():
                self._tell("loader_started", loader, users_site())
            return original(loader)

        return iterate

    def _around_batch(self, original: Any) -> Any:
        def draw(iterator: Any) -> Any:
            batch = original(iterator)
            if self._listeners("batch_drawn") and self._hears():
                self._tell("batch_drawn", iterator, batch, users_site())
            return batch

        return draw

    def _around_seed(self, original: Any) -> Any:
        def seed(*args: Any, **kwargs: Any) -> Any:
            if self._hears():
                self._tell("seeded", str((args, kwargs)), users_site())
            return original(*args, **kwargs)

        return seed

    def _around_compile(self, original: Any) -> Any:
        def compile_model(*args: Any, **kwargs: Any) -> Any:
            if self.is_on and not self._has_compiled:
                # Neither the mode nor our calls may become a part of what is compiled.
                self._mode_off()
                self._has_compiled = True
                self._patches.undo((nn.Module, "__call__"))
                site = users_site()
                self.cannot.append(
                    f"what is compiled is not looked into ({site}); watch it once without "
                    f"torch.compile"
                )
            return original(*args, **kwargs)

        return compile_model


def _is_on_its_own(module: nn.Module) -> bool:
    """Whether a module computes something else while somebody listens to functions."""
    if not module.training and isinstance(module, WITH_KERNELS):
        return True
    return type(module).__name__ == "OptimizedModule" or module._compiled_call_impl is not None  # noqa: SLF001  torch.compile(module), module.compile()


_LISTENING: "weakref.WeakSet[Listener]" = weakref.WeakSet()


@contextmanager
def unheard() -> Iterator[None]:
    """Inside, nobody hears what is computed, neither a listener nor a mode of the user's."""
    modes, listeners = function_mode_stack(), list(_LISTENING)
    restack_function_modes([mode for mode in modes if is_device_mode(mode)])
    for listener in listeners:
        listener.silent += 1
    try:
        yield
    finally:
        for listener in listeners:
            listener.silent -= 1
        restack_function_modes(modes)


def _stop_all() -> None:
    """A forked process (a loader's worker) is not what is watched."""
    for listener in list(_LISTENING):
        with suppress(RuntimeError):
            listener.stop()


os.register_at_fork(after_in_child=_stop_all)


def _only_close(told: Any) -> frozenset[str]:
    """The events that a method's rule needs to hear only while the loop is looked at closely."""
    return getattr(told.__self__, "only_close", frozenset())
