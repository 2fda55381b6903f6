"""Training steps of an MLP without autograd."""

import math
from collections.abc import Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import SGD, Optimizer

from torchmlp._compat.torch_internals import mark_stepped
from torchmlp.autograd.dense import check_dense
from torchmlp.engine.bound import Bound, Step, wide
from torchmlp.engine.options import check_labels, check_options, check_weight, checked_order
from torchmlp.engine.state.addresses import check_tensors, unsupported_memory
from torchmlp.engine.state.changes import Expectation, Kind, Watch
from torchmlp.engine.state.structure import is_fusible, structure, unsupported_reason
from torchmlp.engine.state.updates import Updates, Way
from torchmlp.engine.state.workspace import LayerBuffers, Workspace
from torchmlp.engine.steps import build
from torchmlp.engine.steps import native_step as native_steps
from torchmlp.engine.steps.cuda_graph import GraphStep, is_captured
from torchmlp.engine.steps.fused_optimizer import FUSED, FusedOptimizer
from torchmlp.engine.steps.mixed_step import MixedStep, MixedWorkspace, unsupported_precision
from torchmlp.engine.steps.torch_step import TorchStep
from torchmlp.engine.triton.choice import TakesStep, faster_step, faster_update
from torchmlp.kernels.losses import check_target
from torchmlp.nn.mlp import MLP

if TYPE_CHECKING:
    import ctypes

_SETTINGS = (
    *("model", "loss", "optimizer", "native", "only_finite", "class_weight", "label_smoothing"),
    *("clip_norm", "clip_value", "accumulate", "precision", "scaler"),
)
READY_STEPS = 64  # for which coefficients are computed at once
WORK_AT_ONCE = 5_000_000_000  # multiplications of an epoch in one call: a tenth of a second or two
BATCH_SIZES = 8  # whose buffers are kept; a run has two, the batch and the epoch's last


class Engine:
    """Steps of training: forward, loss, deltas and descent in one call, without autograd.

    The parameters become what `loss.backward()` and `optimizer.step()` make of them. For
    torch.optim.SGD (momentum, Nesterov, dampening, weight decay, maximize) the update is part of
    the gradients' matrix products and no gradient is stored. On a CPU the step is C++ where that
    can be had, with the steps of Adam, AdamW, NAdam, RMSprop and Adagrad in it, each element's
    gradient being used where it is made; else it is torch's operators on buffers that are kept. On
    a GPU gradients come from a captured CUDA graph, whose elementwise parts, with the step of SGD,
    Adam or AdamW, are Triton's where measured faster. There, and for other optimizers, gradients
    are found in `.grad` and the optimizer takes its own step.

    Args:
        model: an MLP. Its dropout acts in training mode, by the masks `MLP.forward` would draw.
        loss: "cross_entropy", "mse" or "bce".
        optimizer: over the model's parameters. Its settings are read at every step, and its state
            is kept where it keeps it. Parameters that are frozen, or not its own, stay as they are.
        native: whether to take the step in C++. None does where it can; True raises where not.
        only_finite: skip the update where the loss is nan or infinite, so that the step can be
            looked into (CPU only: a GPU would have to be synchronised).
        class_weight: (K,), a weight of each class in cross-entropy, as torch.nn.CrossEntropyLoss's
            `weight`: the mean is over the weights' sum.
        label_smoothing: of cross-entropy, as torch.nn.CrossEntropyLoss's: the share of a target
            that all classes get alike.
        clip_norm: the longest gradient, all parameters together, as
            torch.nn.utils.clip_grad_norm_; None for any.
        clip_value: the largest element of a gradient, as torch.nn.utils.clip_grad_value_; None for
            any.
        accumulate: batches whose gradients are averaged before the optimizer takes a step.
        precision: torch.bfloat16 or torch.float16 takes the products in it, as torch.autocast does,
            of float32 parameters; None in the parameters' dtype.
        scaler: of the loss, for float16; its `scale`, `step` and `update` are called in each step,
            so that a step whose gradients overflow is skipped. None scales nothing.

    Raises:
        ValueError: a model, loss or optimizer with another step (see `unsupported_reason`); an
            option that does not fit.

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
        class_weight: Tensor | None = None,
        label_smoothing: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        precision: torch.dtype | None = None,
        scaler: GradScaler | None = None,
    ) -> None:
        self.model, self.loss, self.optimizer, self.native = model, loss, optimizer, native
        self.only_finite = only_finite
        self.class_weight, self.label_smoothing = class_weight, label_smoothing
        self.clip_norm, self.clip_value, self.accumulate = clip_norm, clip_value, accumulate
        self.precision, self.scaler = precision, scaler
        self._lock = RLock()
        self._last: Bound | None = None
        self._steps: dict[Any, Bound] = {}
        self._updates: Updates
        self._takes_step: TakesStep  # the optimizer's own step, where it takes it
        self._is_native = False  # whether the updates are for steps in C++
        self._reason = ""  # why not
        self._compiled: ctypes.CDLL | None = None  # once a step was taken with it
        self._ready: native_steps.ReadyStep | None = None  # the last step, for the next batch
        self._seen: Any = None  # the settings of the last step
        self._collected = 0  # batches since the optimizer's last step
        self._epoch_right: int | Tensor | None = None  # of the last epoch, if there was one
        self._adopt("Engine")
        check_options(self)

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
        """How many rows of the last step, or epoch, had their largest output at `labels`.

        Args:
            labels: (rows,), those of the step.

        Raises:
            RuntimeError: before the first step.
        """
        if self._last is None:
            raise RuntimeError("Engine.right: expected a step first")
        if self._epoch_right is not None:
            return self._epoch_right
        return self._last.step.right(labels)

    def step(
        self,
        x: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        updates: bool | None = None,
    ) -> Tensor:
        """One training step; the loss before it.

        Args:
            x: (*batch, in_features) in the parameters' dtype, or uint8 pixels, (batch, *image),
                which are scaled to 0..1.
            target: as `mean_loss` takes it.
            weight: (*batch,), of each sample in the mean, which is over the weights' sum; None for
                ones.
            updates: whether the optimizer takes its step after this batch, where there is
                `accumulate`; None: after every `accumulate`-th.

        Returns:
            The mean loss, a 0-d tensor without a graph, in the parameters' dtype.

        Raises:
            ValueError: shapes or devices that do not fit, an input that requires a gradient, a
                label that is no class. No parameter and no optimizer state has been changed then.
            TypeError: dtypes that do not fit, or no tensors.
        """
        with self._lock:
            ready = self._ready
            if ready is not None and weight is None and updates is None:
                if ready.is_used_up and self._updates.look_at_counts():
                    ready.refill(self._updates.table(READY_STEPS))
                answer, loss = ready.take(x, target)
                if answer == native_steps.DONE:
                    mark_stepped(self.optimizer)
                    return loss
                if answer == native_steps.SICK:
                    return loss
                self._ready = None
            return self._step(x, target, weight, updates)

    def epoch(
        self,
        x: Tensor,
        target: Tensor,
        batch_size: int,
        order: Tensor | None = None,
        *,
        weight: Tensor | None = None,
    ) -> Tensor:
        """One step for each batch of samples that lie in memory, without a return in between.

        The optimizer's settings are read once. The last batch may be smaller. Where the step is
        taken in C++, without dropout, all of it is one call; else it is a loop of `step`.

        Args:
            x: (samples, in_features), or uint8 pixels, (samples, *image).
            target: of as many samples.
            batch_size: samples of a step.
            order: int64, the samples in the order in which they are taken, with repetitions or
                without; None takes them as they lie.
            weight: (samples,), as `step` takes it.

        Returns:
            The loss of each step before it, (steps,). With `only_finite` the last one is the first
            that is not finite: no step is taken after it.

        Raises:
            ValueError, TypeError: as `step`; a batch size below 1, an order that names no sample.
        """
        check_tensors(x, target, "Engine.epoch")
        order = checked_order(order, x, target, weight, batch_size)
        if not len(x if order is None else order):
            return torch.empty(0, dtype=self.model.weights[0].dtype)
        with self._lock:
            bound = self._bound_for_epoch(x, target, batch_size, order, weight)
            if bound is not None:
                return self._epoch_at_once(bound, x, target, order, weight)
            losses, rights, has_labels = [], [], not target.is_floating_point()
            for start in range(0, len(x if order is None else order), batch_size):
                taken: Any = slice(start, start + batch_size)
                taken = taken if order is None else order[taken]
                losses.append(
                    self.step(x[taken], target[taken], None if weight is None else weight[taken])
                )
                if has_labels:
                    rights.append(self.right(target[taken]))
                if self.only_finite and not losses[-1].is_cuda and not math.isfinite(losses[-1]):
                    break
            if has_labels:
                self._epoch_right = sum(rights)
            return torch.stack(losses)

    def _step(
        self, x: Tensor, target: Tensor, weight: Tensor | None, updates: bool | None
    ) -> Tensor:
        check_tensors(x, target, "Engine.step")
        if x.requires_grad or target.requires_grad:
            raise ValueError(
                "Engine.step: expected an input and a target without requires_grad, for no "
                "gradient reaches them; detach them, or train with autograd"
            )
        if updates is False and self.accumulate == 1:
            raise ValueError(
                "Engine.step: updates=False collects gradients; set accumulate above 1"
            )
        self._refresh()
        bound = self._bound(x, target, weight)
        if updates is None:
            updates = self._collected + 1 >= self.accumulate
        if self.scaler is not None:
            bound.scale_by(self.scaler)
        loss = bound.take(
            x, target, weight, self._updates, self._collected, 1 / self.accumulate, updates
        )
        self._epoch_right = None
        was, self._last = self._last, bound
        if self.only_finite and not loss.is_cuda and not math.isfinite(loss):
            return loss
        if not updates:
            self._collected += 1
            return loss
        self._collected = 0
        self._finish()
        # Where rates change at every step, a step that is ready would never be taken.
        seen, self._seen = self._seen, self._updates.settings
        if was is bound and weight is None and seen is self._seen:
            self._make_ready(bound, x, target)
        return loss

    def _finish(self) -> None:
        """What the optimizer does after a step, or notices of it."""
        if self._updates.way is not Way.GRADIENT:
            self._updates.commit()
            mark_stepped(self.optimizer)
            return
        trained = [slot.value for slot in self._updates.slots if slot is not None]
        if self.scaler is not None and (self.clip_norm, self.clip_value) != (None, None):
            self.scaler.unscale_(self.optimizer)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(trained, self.clip_norm)
        if self.clip_value is not None:
            torch.nn.utils.clip_grad_value_(trained, self.clip_value)
        if self.scaler is None:
            self._takes_step.step()
            return
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _make_ready(self, bound: Bound, x: Tensor, target: Tensor) -> None:
        """For a batch like this one, where a change of anything would be seen in C++."""
        self._ready = None
        expected = self._updates.expectations()
        if (
            expected is None
            or self.accumulate > 1
            or self._updates.has_products
            or not isinstance(bound.step, native_steps.NativeStep)
            or bound.step.has_masks
            or not bound.takes_as_it_lies(x, target)
        ):
            return
        own = vars(self.model)
        flags = ("training", "dropout", "input_dropout")
        expected += [Expectation(Kind.ITEM, own, name, own[name]) for name in flags]
        watch = Watch([*self._watch.asked, *expected], self._updates.tensors, self._compiled)
        if watch.is_compiled:
            table = None
            if self._updates.counters:
                # Computed for many steps at once, the coefficients of each cost next to nothing.
                self._updates.look_at_counts()
                table = self._updates.table(READY_STEPS)
            self._ready = native_steps.ReadyStep(bound.step, watch, x, target, table)

    def _refresh(self) -> None:
        """Take the model and the optimizer's settings as they are now."""
        if self._watch.has_changed():
            self._adopt("Engine.step")
        if not self._is_chosen:
            self._choose()
        if self._updates.refresh():
            self._look_out()

    def _bound(self, x: Tensor, target: Tensor, weight: Tensor | None, **more: Any) -> Bound:
        """What a batch like this one is stepped with."""
        model, rows = self.model, more.get("rows")
        rates = (model.dropout, model.input_dropout) if model.training else None
        shape = (rows, *x.shape[1:]), (rows, *target.shape[1:])
        batch = shape if rows else (x.shape, target.shape)
        key = (
            *(*batch, x.dtype, x.device, target.dtype, target.device, x.__class__),
            *(target.__class__, rates, self._updates.lowest, native_steps.threads()),
            *(more.get("is_gathered", False), weight is not None),
        )
        bound = self._steps.pop(key, None) or self._bind(x, target, weight, **more)
        self._steps[key] = bound  # the last one used is the last one given up
        return bound

    def _bound_for_epoch(
        self,
        x: Tensor,
        target: Tensor,
        batch_size: int,
        order: Tensor | None,
        weight: Tensor | None,
    ) -> Bound | None:
        """What all batches of an epoch are stepped with in one call; None where they cannot be."""
        plain = x.__class__ is target.__class__ is Tensor and not (
            x.requires_grad or target.requires_grad
        )
        self._refresh()
        if not plain or self._updates.has_products:
            return None
        is_known = self._updates.way is not Way.GRADIENT
        is_flat = x.ndim == 2 or x.dtype == torch.uint8  # noqa: PLR2004  (samples, features)
        rates = (self.model.dropout, self.model.input_dropout) if self.model.training else (0, 0)
        if not (self._is_native and is_known and is_flat) or any(rates):
            return None
        rows = min(batch_size, len(x if order is None else order))
        bound = self._bound(x, target, weight, rows=rows, is_gathered=order is not None)
        return bound if isinstance(bound.step, native_steps.NativeStep) else None

    def _epoch_at_once(
        self,
        bound: Bound,
        x: Tensor,
        target: Tensor,
        order: Tensor | None,
        weight: Tensor | None,
    ) -> Tensor:
        """In a few calls, so that Ctrl-C is heard in between."""
        assert isinstance(bound.step, native_steps.NativeStep)
        if bound.counts_right:
            check_labels(target if order is None else target[order], self.model.out_features)
        steps = max(1, WORK_AT_ONCE // max(bound.step.work, 1))
        losses, right = [], 0
        count, size = len(x if order is None else order), steps * bound.shape[0]
        for start in range(0, count, size):
            if self._updates.refresh():
                self._look_out()
            rows = slice(start, start + size)
            told = (self._updates, self._collected, self.accumulate)
            if order is not None:
                taken = bound.take_epoch(x, target, order[rows], weight, *told)
            else:
                own = weight if weight is None else weight[rows]
                taken = bound.take_epoch(x[rows], target[rows], None, own, *told)
            losses.append(taken)
            self._last, self._ready = bound, None
            is_sick = self.only_finite and not math.isfinite(losses[-1][-1])
            done = self._collected + len(losses[-1]) - is_sick
            self._collected = done % self.accumulate
            if done >= self.accumulate:
                self._updates.commit()
                mark_stepped(self.optimizer)
            right += int(bound.step.step.right)
            if is_sick:
                break
        self._epoch_right = right if bound.counts_right else None
        return torch.cat(losses)

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
            self._updates.release()
        self._steps.clear()
        self._ready, self._is_chosen, self._collected = None, False, 0
        parameters = [p for pair in zip(model.weights, model.biases, strict=True) for p in pair]
        self._updates = Updates(optimizer, parameters, Way.GRADIENT)
        self._look_out()

    def _choose(self, reason: str = "") -> None:
        """How steps are taken, of a model and an optimizer that have just been adopted.

        Args:
            reason: why not in C++.

        Raises:
            ValueError: native=True, and it cannot be.
        """
        parameters, optimizer = self._updates.parameters, self.optimizer
        given = [p for p in parameters if p is not None]
        reason = reason or self._why_not_native(given)
        if reason and self.native:
            raise ValueError(f"Engine: native=True, but {reason}; leave it out")
        self._is_native, self._reason = not reason, reason
        device, is_known = given[0].device, is_fusible(optimizer)
        self._takes_step = optimizer
        if device.type == "cuda":
            self._takes_step = faster_update(optimizer)
        elif is_known and isinstance(optimizer, FUSED):
            self._takes_step = FusedOptimizer(optimizer)
        keeps = self.clip_norm is not None or self.accumulate > 1
        way = Way.GRADIENT
        if is_known and not is_captured(device) and self.precision is None:
            if type(optimizer) is SGD and self.clip_value is None and not keeps:
                way = Way.MERGED
            elif self._is_native:
                way = Way.ELEMENTWISE
        self._updates = Updates(optimizer, parameters, way, keeps_gradients=keeps)
        self._is_chosen = True

    def _why_not_native(self, parameters: Sequence[Tensor]) -> str:
        """What keeps steps from being taken in C++; "" where nothing does, and it is compiled."""
        device = parameters[0].device
        if self.native is False:
            return "native=False"
        if self.precision is not None:
            return f"products in {self.precision}"
        if is_captured(device):
            return f"steps on {device} are captured"
        if reason := native_steps.unsupported_natively(parameters):
            return reason
        try:
            self._compiled = self._compiled or build.load()
        except build.NoNativeStepError as error:
            return str(error)
        return ""

    def _look_out(self) -> None:
        """From here on, for changes of what is there now."""
        own = vars(self)
        expected = [Expectation(Kind.ITEM, own, name, own[name]) for name in _SETTINGS]
        expected += structure(self.model, self.optimizer)
        self._watch = Watch(expected, self._updates.tensors, self._compiled)
        self._ready = None

    def _bind(
        self,
        x: Tensor,
        target: Tensor,
        weight: Tensor | None,
        rows: int | None = None,
        *,
        is_gathered: bool = False,
    ) -> Bound:
        """Compare the arguments with the model, and allocate what their step needs."""
        model = self.model
        weights, biases = model.weights, model.biases
        is_pixels = x.dtype == torch.uint8
        shape = torch.Size((len(x), x.shape[1:].numel())) if is_pixels else x.shape
        like = x.new_empty(0, dtype=weights[0].dtype) if is_pixels else x
        check_dense(shape, like, weights[0], biases[0], model.activations[0], "Engine.step")
        check_target(torch.Size((*shape[:-1], len(weights[-1]))), target, self.loss)
        if weight is not None:
            check_weight(weight, shape[:-1])
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
        rows = rows or shape[:-1].numel()
        given = [p for p in self._updates.parameters if p is not None]
        if self._is_native and (reason := native_steps.unsupported_natively(given, rows)):
            self._choose(reason)
            self._updates.refresh()
            self._look_out()
        workspace = self._workspace(rows, is_pixels=is_pixels, is_gathered=is_gathered)
        if reason := unsupported_memory(workspace.ones):  # a mode that makes others of all tensors
            raise ValueError(f"Engine.step: a tensor that is made here {reason}; step outside")
        target_row = target.shape[len(shape) - 1 :]
        step, how = self._step_for(workspace, x, target, target_row)
        return Bound(step, how, workspace, target_row)

    def _workspace(self, rows: int, *, is_pixels: bool, is_gathered: bool) -> Workspace:
        model, lowest = self.model, self._updates.lowest // 2
        if self.precision is not None:
            return MixedWorkspace(model, rows, lowest, self.precision, is_pixels=is_pixels)
        return Workspace(
            model,
            rows,
            lowest,
            is_pixels=is_pixels,
            is_gathered=is_gathered,
            keeps_slopes=native_steps.KEEPS_SLOPES if self._is_native else frozenset(),
        )

    def _step_for(
        self, workspace: Workspace, x: Tensor, target: Tensor, target_row: torch.Size
    ) -> tuple[Step, str]:
        has_graph = is_captured(workspace.ones.device)
        weighting: dict[str, Any] = {
            "only_finite": self.only_finite and not has_graph,
            "label_smoothing": self.label_smoothing,
        }
        if self.class_weight is not None:
            own = self.class_weight.detach().to(wide(workspace.ones))
            weighting["class_weight"] = own.contiguous()
        if self._is_native:
            assert self._compiled is not None
            step = native_steps.NativeStep(
                self._compiled,
                workspace,
                self.loss,
                has_labels=not target.is_floating_point(),
                clip_norm=self.clip_norm or 0.0,
                clip_value=self.clip_value or 0.0,
                **weighting,
            )
            threads = step.step.threads
            return step, f"C++, {threads} thread{'s' if threads > 1 else ''}"
        if isinstance(workspace, MixedWorkspace):
            is_scaled = self.scaler is not None
            slow: TorchStep = MixedStep(workspace, self.loss, is_scaled=is_scaled, **weighting)
        else:
            slow = TorchStep(workspace, self.loss, **weighting)
        if not has_graph:
            return slow, f"torch's operators ({self._reason})"
        how = "a CUDA graph of torch's operators"
        if workspace.ones.is_cuda:
            slow, how = faster_step(slow, x, target.reshape(workspace.rows, *target_row))
        return GraphStep(slow), how
