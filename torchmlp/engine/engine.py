"""Training steps of an MLP without autograd."""

import math
from threading import RLock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from torchmlp._compat.torch_internals import mark_stepped
from torchmlp.autograd.dense import check_dense
from torchmlp.engine.state.addresses import (
    borrow_batch,
    check_tensors,
    storages,
    unsupported_memory,
)
from torchmlp.engine.state.changes import Expectation, Kind, Watch
from torchmlp.engine.state.sgd_update import SGDUpdate, SGDUpdates
from torchmlp.engine.state.structure import is_fusible, structure, unsupported_reason
from torchmlp.engine.state.workspace import LayerBuffers, Workspace
from torchmlp.engine.steps import build
from torchmlp.engine.steps import native_step as native
from torchmlp.engine.steps.cuda_graph import GraphStep, is_captured
from torchmlp.engine.steps.mixed_step import MixedStep, MixedWorkspace, unsupported_precision
from torchmlp.engine.steps.torch_step import TorchStep
from torchmlp.engine.triton.choice import TakesStep, faster_step, faster_update
from torchmlp.kernels.losses import check_target
from torchmlp.nn.mlp import MLP

if TYPE_CHECKING:
    import ctypes

Step = TorchStep | native.NativeStep | GraphStep
_SETTINGS = ("model", "loss", "optimizer", "native", "only_finite", "precision", "scaler")
BATCH_SIZES = 8  # whose buffers are kept; a run has two, the batch and the epoch's last


class Engine:
    """Steps of training: forward, loss, deltas and descent in one call, without autograd.

    The parameters become what `loss.backward()` and `optimizer.step()` make of them. For
    torch.optim.SGD (momentum, Nesterov, dampening, weight decay, maximize) the update is part of
    the gradients' matrix products and no gradient is stored; other optimizers find the gradients
    in `.grad` and take their own step. On a CPU the step is C++ where that can be had, else torch's
    operators on buffers that are kept; on a GPU gradients come from a captured CUDA graph, and its
    elementwise parts, with the step of SGD, Adam or AdamW, are Triton's where measured faster.

    Args:
        model: an MLP. Its dropout acts in training mode, by the masks `MLP.forward` would draw.
        loss: "cross_entropy", "mse" or "bce".
        optimizer: over the model's parameters. Its settings are read at every step, and its state
            is kept where it keeps it. Parameters that are frozen, or not its own, stay as they are.
        native: whether to take the step in C++. None does where it can; True raises where not.
        only_finite: skip the update where the loss is nan or infinite, so that the step can be
            looked into (CPU only: a GPU would have to be synchronised).
        precision: torch.bfloat16 or torch.float16 takes the products in it, as torch.autocast does,
            of float32 parameters; None in the parameters' dtype.
        scaler: of the loss, for float16; its `scale`, `step` and `update` are called in each step,
            so that a step whose gradients overflow is skipped. None scales nothing.

    Raises:
        ValueError: a model, loss or optimizer with another step (see `unsupported_reason`); a
            precision that does not fit, or a scaler without one.

    What happens to the model or the optimizer between two steps, parameters or layers replaced,
    moved, cast or frozen, another activation, groups added, holds from the next step on; where that
    has no step without autograd (hooks, tied weights, a forward of one's own), it raises. Steps
    that several threads take wait for each other.

    Autocast is not looked at: products are in `precision` or the parameters' dtype. The C++ step
    takes subnormal numbers for 0.

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
        precision: torch.dtype | None = None,
        scaler: GradScaler | None = None,
    ) -> None:
        self.model, self.loss, self.optimizer, self.native = model, loss, optimizer, native
        self.only_finite, self.precision, self.scaler = only_finite, precision, scaler
        self._lock = RLock()
        self._last: _Bound | None = None
        self._steps: dict[Any, _Bound] = {}
        self._descents: SGDUpdates
        self._update: TakesStep
        self._compiled: ctypes.CDLL | None = None  # once a step was taken with it
        self._adopt("Engine")

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made of; it finds its own model's memory."""
        return {name: getattr(self, name) for name in _SETTINGS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the copy."""
        self.__init__(**state)  # type: ignore[misc]

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
            TypeError: dtypes that do not fit, or no tensors.
        """
        check_tensors(x, target, "Engine.step")
        if x.requires_grad or target.requires_grad:
            raise ValueError(
                "Engine.step: expected an input and a target without requires_grad, for no "
                "gradient reaches them; detach them, or train with autograd"
            )
        with self._lock:
            if self._watch.has_changed():
                self._adopt("Engine.step")
            model, descents = self.model, self._descents
            if descents.refresh():
                self._look_out()
            rates = (model.dropout, model.input_dropout) if model.training else None
            batch = (x.shape, x.dtype, x.device, target.shape, target.dtype, target.device)
            kinds = (x.__class__, target.__class__)
            key = (*batch, *kinds, rates, descents.lowest, native.threads())
            bound = self._steps.pop(key, None) or self._bind(x, target)
            self._steps[key] = bound  # the last one used is the last one given up
            if self.scaler is not None:
                bound.scale_by(self.scaler)
            loss = bound.take(x, target, descents)
            self._last = bound
            if self.only_finite and not loss.is_cuda and not math.isfinite(loss):
                return loss
            if descents.is_fused:
                descents.commit()
                mark_stepped(self.optimizer)
            elif self.scaler is not None:
                self.scaler.step(self.optimizer)
                self.scaler.update()
            else:
                self._update.step()
            return loss

    def _adopt(self, where: str) -> None:
        """Take the model and the optimizer as they are now.

        Raises:
            ValueError: they have no step without autograd; nothing has been changed then.
        """
        model, optimizer = self.model, self.optimizer
        if reason := unsupported_reason(model, self.loss, optimizer):
            raise ValueError(f"{where}: {reason}")
        if reason := unsupported_precision(model, self.precision, self.scaler):
            raise ValueError(f"{where}: {reason}")
        if self._steps:
            self._descents.release()
        self._steps.clear()
        parameters = [p for pair in zip(model.weights, model.biases, strict=True) for p in pair]
        has_graph = is_captured(model.weights[0].device)
        is_fused = is_fusible(optimizer) and not has_graph and self.precision is None
        self._descents = SGDUpdates(optimizer, parameters, is_fused=is_fused)
        on_gpu = model.weights[0].is_cuda
        self._update = faster_update(optimizer) if on_gpu else optimizer
        self._look_out()

    def _look_out(self) -> None:
        """From here on, for changes of what is there now."""
        own = vars(self)
        expected = [Expectation(Kind.ITEM, own, name, own[name]) for name in _SETTINGS]
        expected += structure(self.model, self.optimizer)
        self._watch = Watch(expected, self._descents.tensors, self._compiled)

    def _bind(self, x: Tensor, target: Tensor) -> "_Bound":
        """Compare the arguments with the model, and allocate what their step needs."""
        model = self.model
        weights, biases = model.weights, model.biases
        is_pixels = x.dtype == torch.uint8
        shape = torch.Size((len(x), x.shape[1:].numel())) if is_pixels else x.shape
        like = x.new_empty(0, dtype=weights[0].dtype) if is_pixels else x
        check_dense(shape, like, weights[0], biases[0], model.activations[0], "Engine.step")
        check_target(torch.Size((*shape[:-1], len(weights[-1]))), target, self.loss)
        for tensor in (x, target):
            if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
                raise ValueError(
                    f"Engine.step: expected plain tensors, got a {type(tensor).__name__}; train "
                    f"with autograd"
                )
        if target.device != x.device:
            raise ValueError(
                f"Engine.step: expected one device, got input on {x.device} and target on "
                f"{target.device}; move one of them with .to(device)"
            )
        if len(self._steps) >= BATCH_SIZES:
            del self._steps[next(iter(self._steps))]
        rows = shape[:-1].numel()
        workspace = self._workspace(rows, is_pixels=is_pixels)
        if reason := unsupported_memory(workspace.ones):  # a mode that makes others of all tensors
            raise ValueError(f"Engine.step: a tensor that is made here {reason}; step outside")
        target_row = target.shape[len(shape) - 1 :]
        target = target.reshape(rows, *target_row)
        step, how = self._step_for(workspace, x, target)
        return _Bound(step, how, workspace, target_row)

    def _workspace(self, rows: int, *, is_pixels: bool) -> Workspace:
        model, lowest = self.model, self._descents.lowest // 2
        if self.precision is None:
            return Workspace(model, rows, lowest, is_pixels=is_pixels)
        return MixedWorkspace(model, rows, lowest, self.precision, is_pixels=is_pixels)

    def _torch_step(self, workspace: Workspace, *, only_finite: bool = False) -> TorchStep:
        if isinstance(workspace, MixedWorkspace):
            is_scaled = self.scaler is not None
            return MixedStep(workspace, self.loss, is_scaled=is_scaled, only_finite=only_finite)
        return TorchStep(workspace, self.loss, only_finite=only_finite)

    def _step_for(self, workspace: Workspace, x: Tensor, target: Tensor) -> tuple[Step, str]:
        if is_captured(workspace.ones.device):
            captured, how = self._torch_step(workspace), "a CUDA graph of torch's operators"
            if workspace.ones.is_cuda:
                captured, how = faster_step(captured, x, target)
            return GraphStep(captured), how
        reason = "native=False"
        if self.native is not False:
            reason = (
                f"products in {self.precision}"
                if self.precision is not None
                else native.unsupported_natively(workspace, target, self.loss)
            )
            try:
                if not reason:
                    if self._compiled is None:
                        self._compiled = build.load()
                        self._look_out()
                    step = native.NativeStep(
                        self._compiled, workspace, self.loss, only_finite=self.only_finite
                    )
                    threads = step.step.threads
                    return step, f"C++, {threads} thread{'s' if threads > 1 else ''}"
            except build.NoNativeStepError as error:
                reason = str(error)
            if self.native:
                raise ValueError(f"Engine: native=True, but {reason}; leave it out")
        slow = self._torch_step(workspace, only_finite=self.only_finite)
        return slow, f"torch's operators ({reason})"


class _Bound:
    """A step and what it was last told of the optimizer."""

    def __init__(self, step: Step, how: str, workspace: Workspace, target_row: torch.Size) -> None:
        self.step, self.how, self.workspace = step, how, workspace
        self.shape = (workspace.rows, workspace.layers[0].weight.shape[1])
        self.target_shape = (workspace.rows, *target_row)
        self.generation = -1
        self.settings: list[Any] = []
        self.descents: list[SGDUpdate] = []
        self.written: set[int] = set()  # storages, by where they begin

    def scale_by(self, scaler: GradScaler) -> None:
        step = self.step.step if isinstance(self.step, GraphStep) else self.step
        assert isinstance(step, MixedStep)
        step.scale_by(scaler)

    def take(self, x: Tensor, target: Tensor, descents: SGDUpdates) -> Tensor:
        if descents.generation != self.generation:
            self.step.bind(descents.slots)
            self.generation, self.descents = descents.generation, []
            self.written = storages((*descents.tensors, *self.workspace.buffers))
        if not self.descents or descents.settings != self.settings:
            self.descents, self.settings = descents.for_rows(self.shape[0]), descents.settings
        if x.shape != self.shape:
            x, target = x.reshape(self.shape), target.reshape(self.target_shape)
        if isinstance(self.step, native.NativeStep):  # which looks for itself
            if x.is_neg() or target.is_neg():
                x, target = x.resolve_neg(), target.resolve_neg()
            x, target = x.contiguous(), target.contiguous()
        else:
            x, target = borrow_batch(x, target, "Engine.step", self.written)
        return self.step.take(x, target, self.descents)
