"""Training steps of an MLP without autograd."""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from torchmlp.autograd.dense import check_dense
from torchmlp.kernels.losses import LOSSES, check_target
from torchmlp.kernels.names import find
from torchmlp.nn.dense import Dense
from torchmlp.nn.mlp import MLP
from torchmlp.training.engine import library, native
from torchmlp.training.engine.descent import Descent, Descents, is_fusible
from torchmlp.training.engine.graph import GraphStep
from torchmlp.training.engine.torch_step import TorchStep
from torchmlp.training.engine.workspace import LayerBuffers, Workspace

Step = TorchStep | native.NativeStep | GraphStep
BATCH_SIZES = 8  # whose buffers are kept; a run has two, the batch and the epoch's last


class Engine:
    """Steps of training: forward, loss, deltas and descent in one call, without autograd.

    The parameters become what `loss.backward()` and `optimizer.step()` make of them. For
    torch.optim.SGD (momentum, Nesterov, dampening, weight decay, maximize) the update is part of
    the gradients' matrix products and no gradient is stored; other optimizers find the gradients
    in `.grad` and take their own step. On a CPU the step is C++ where that can be had, else torch's
    operators on buffers that are kept; on a GPU gradients come from a captured CUDA graph.

    Args:
        model: an MLP. Its dropout acts in training mode, by the masks `MLP.forward` would draw.
        loss: "cross_entropy", "mse" or "bce".
        optimizer: over the model's parameters. Its settings are read at every step, and its state
            is kept where it keeps it. Parameters that are frozen, or not its own, stay as they are.
        native: whether to take the step in C++. None does where it can; True raises where not.
        only_finite: whether a step whose loss is nan or infinite changes nothing, so that it can be
            looked into; on a CPU, for a GPU is not waited for.

    Raises:
        ValueError: a model, loss or optimizer whose step is not this one (see `why_not`).

    Autocast is not looked at: a step is computed in the parameters' dtype. The C++ step takes
    subnormal numbers for 0. Hooks are looked for once, here.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model, x = MLP(2, 16, 2), torch.randn(64, 2)
        >>> engine = Engine(model, "cross_entropy", torch.optim.SGD(model.parameters(), lr=1.0))
        >>> losses = [engine.step(x, (x[:, 0] > 0).long()) for _ in range(100)]
        >>> bool(losses[-1] < 0.02 < losses[0])
        True
    """

    def __init__(
        self,
        model: MLP,
        loss: str,
        optimizer: Optimizer,
        *,
        native: bool | None = None,
        only_finite: bool = False,
    ) -> None:
        if reason := why_not(model, loss, optimizer):
            raise ValueError(f"Engine: {reason}")
        self.model, self.loss, self.optimizer, self.native = model, loss, optimizer, native
        self.only_finite = only_finite
        self._last: _Bound | None = None
        pairs = zip(model.weights, model.biases, strict=True)
        self._parameters = [p for pair in pairs for p in pair]
        self._present = [p for p in self._parameters if p is not None]
        on_gpu = self._present[0].is_cuda
        is_fused = is_fusible(optimizer) and not on_gpu
        self._descents = Descents(optimizer, self._parameters, is_fused=is_fused)
        self._steps: dict[Any, _Bound] = {}
        self._places: list[int] = []

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: buffers are made anew, over its own parameters."""
        return {**self.__dict__, "_steps": {}, "_places": [], "_last": None}

    @property
    def how(self) -> str:
        """How the last step was taken, and why not in C++ where it was not."""
        return self._last.how if self._last else "no step taken yet"

    @property
    def layers(self) -> list[LayerBuffers]:
        """What the last step computed of each layer, before its update; none before the first."""
        if self._last is None:
            return []
        step = self._last.step
        return (step.step if isinstance(step, GraphStep) else step).workspace.layers

    def right(self, labels: Tensor) -> int | Tensor:
        """How many rows of the last step had their largest output at `labels`.

        Args:
            labels: (rows,), those of the step.

        Raises:
            RuntimeError: before the first step.
        """
        if self._last is None:
            raise RuntimeError("Engine.right: expected a step first")
        return self._last.step.right(labels)

    def step(self, x: Tensor, target: Tensor) -> Tensor:
        """One training step; the loss before it.

        Args:
            x: (*batch, in_features) in the parameters' dtype, or uint8 pixels, (batch, *image),
                which are scaled to 0..1.
            target: as `mean_loss` takes it.

        Returns:
            The mean loss, a 0-d tensor without a graph, in the parameters' dtype.

        Raises:
            ValueError: shapes or devices that do not fit, an input that requires a gradient, a
                label that is no class. No parameter and no optimizer state has been changed then.
            TypeError: dtypes that do not fit.
        """
        if x.requires_grad or target.requires_grad:
            raise ValueError(
                "Engine.step: expected an input and a target without requires_grad, for no "
                "gradient reaches them; detach them, or train with autograd"
            )
        model, descents = self.model, self._descents
        places = [p.data_ptr() for p in self._present]
        has_moved = places != self._places  # or was cast to another dtype
        if has_moved:
            self._steps.clear()
            self._places = places
        descents.look(has_moved=has_moved)
        rates = (model.dropout, model.input_dropout) if model.training else None
        batch = (x.shape, x.dtype, x.device, target.shape, target.dtype, target.device)
        key = (*batch, rates, descents.lowest, torch.get_num_threads())
        bound = self._steps.pop(key, None) or self._bind(x, target)
        self._steps[key] = bound  # the last one used is the last one given up
        loss = bound.take(x, target, descents)
        self._last = bound
        if self.only_finite and not loss.is_cuda and not math.isfinite(loss):
            return loss
        if descents.is_fused:
            descents.keep()
            self.optimizer._opt_called = True  # type: ignore[attr-defined]
        else:
            self.optimizer.step()
        return loss

    def _bind(self, x: Tensor, target: Tensor) -> "_Bound":
        """Compare the arguments with the model, and allocate what their step needs."""
        model = self.model
        weights, biases = model.weights, model.biases
        is_pixels = x.dtype == torch.uint8
        shape = torch.Size((len(x), x.shape[1:].numel())) if is_pixels else x.shape
        like = x.new_empty(0, dtype=weights[0].dtype) if is_pixels else x
        check_dense(shape, like, weights[0], biases[0], model.activations[0], "Engine.step")
        check_target(torch.Size((*shape[:-1], model.out_features)), target, self.loss)
        if target.device != x.device:
            raise ValueError(
                f"Engine.step: expected one device, got input on {x.device} and target on "
                f"{target.device}; move one of them with .to(device)"
            )
        if len(self._steps) >= BATCH_SIZES:
            del self._steps[next(iter(self._steps))]
        rows = shape[:-1].numel()
        workspace = Workspace(model, rows, self._descents.lowest // 2, is_pixels=is_pixels)
        step, how = self._step_for(workspace, target)
        target_row = target.shape[len(shape) - 1 :]
        return _Bound(step, how, (rows, model.in_features), target_row)

    def _step_for(self, workspace: Workspace, target: Tensor) -> tuple[Step, str]:
        if workspace.ones.is_cuda:
            return GraphStep(TorchStep(workspace, self.loss)), "a CUDA graph of torch's operators"
        reason = "native=False"
        if self.native is not False:
            reason = native.why_not_native(workspace, target, self.loss)
            try:
                if not reason:
                    step = native.NativeStep(
                        library.load(), workspace, self.loss, only_finite=self.only_finite
                    )
                    threads = step.step.threads
                    return step, f"C++, {threads} thread{'s' if threads > 1 else ''}"
            except library.NoNativeStepError as error:
                reason = str(error)
            if self.native:
                raise ValueError(f"Engine: native=True, but {reason}; leave it out")
        slow = TorchStep(workspace, self.loss, only_finite=self.only_finite)
        return slow, f"torch's operators ({reason})"


class _Bound:
    """A step and what it was last told of the optimizer."""

    def __init__(
        self, step: Step, how: str, shape: tuple[int, int], target_row: torch.Size
    ) -> None:
        self.step, self.how, self.shape = step, how, shape
        self.target_shape = (shape[0], *target_row)
        self.generation = -1
        self.settings: list[Any] = []
        self.descents: list[Descent] = []

    def take(self, x: Tensor, target: Tensor, descents: Descents) -> Tensor:
        if descents.generation != self.generation:
            self.step.bind(descents.slots)
            self.generation, self.descents = descents.generation, []
        if not self.descents or descents.settings != self.settings:
            self.descents, self.settings = descents.of(self.shape[0]), descents.settings
        if x.shape != self.shape:
            x, target = x.reshape(self.shape), target.reshape(self.target_shape)
        return self.step.take(x.contiguous(), target.contiguous(), self.descents)


def why_not(model: nn.Module, loss: str | Callable[..., Any], optimizer: Optimizer) -> str:
    """What keeps an `Engine` from training so; "" where nothing does.

    Raises:
        ValueError: a loss of an unknown name.
    """
    if isinstance(loss, str):
        find("loss", loss, LOSSES)
    return next(_reasons(model, loss, optimizer), "")


def _reasons(
    model: nn.Module, loss: str | Callable[..., Any], optimizer: Optimizer
) -> Iterator[str]:
    with_autograd = "; train with autograd"
    if type(model) is not MLP:
        yield f"expected a torchmlp.MLP, got {type(model).__name__}{with_autograd}"
        return  # nothing else is known of it
    if not isinstance(loss, str):
        yield f"expected a loss by name, got a function{with_autograd}"
    layers = list(model.layers)
    for layer in layers:
        if type(layer) is not Dense:
            yield f"expected Dense layers, got {type(layer).__name__}{with_autograd}"
    if any(_has_hooks(module) for module in (model, *layers)):
        yield f"the model has hooks, which only autograd calls; remove them or{with_autograd[1:]}"
    yield from _reasons_of_parameters([p for layer in layers for p in layer.parameters()])
    yield from _reasons_of_optimizer(optimizer)


def _reasons_of_parameters(parameters: list[Parameter]) -> Iterator[str]:
    if len(parameters) != len(set(parameters)):
        yield "layers share a parameter; train with autograd"
    if any(type(p) is not Parameter or p.layout != torch.strided for p in parameters):
        yield "expected plain parameters, got another kind of tensor; train with autograd"
    if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters):
        yield "a parameter has gradient hooks, which only autograd calls"
    if len({(p.dtype, p.device) for p in parameters}) > 1 or not parameters[0].is_floating_point():
        yield "expected parameters of one floating dtype on one device"
    if parameters[0].device.type not in ("cpu", "cuda"):
        yield f"expected a CPU or a CUDA device, got {parameters[0].device}; train with autograd"


def _reasons_of_optimizer(optimizer: Optimizer) -> Iterator[str]:
    name = type(optimizer).__name__
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        yield f"{name} evaluates the loss itself; train with autograd"
    if any(group.get("differentiable") for group in optimizer.param_groups):
        yield f"{name} is differentiable, and a step without autograd is not"


def _has_hooks(module: nn.Module) -> bool:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name) for name in names)
