"""A run with a change made: other data, weights, activations, loss or optimizer."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own spelling

from torchmlp.diagnosis.measure.scoring import Scoring, class_labels, classes_last
from torchmlp.diagnosis.measure.training_loop import all_finite, outputs, update
from torchmlp.diagnosis.remedies.catalogue import Change
from torchmlp.diagnosis.run.run import USER_ERRORS, Batch, TrainingRun, TrainingStepRun
from torchmlp.diagnosis.trace.custom_backward import (
    detached,
)
from torchmlp.diagnosis.trace.layers import TracedLayer, find_layers
from torchmlp.diagnosis.trace.op_names import RECURRENT
from torchmlp.diagnosis.trace.trace import Trace
from torchmlp.kernels.activations import ACTIVATIONS, activate
from torchmlp.kernels.init import auto_init, initialise_

FEW_FEATURES = 100  # more are pixels, of which some hardly move
NOTHING = 1e-6  # of what is common: the spread of a feature that is constant
# Exceptions that mean: this change does not apply.
NOT_APPLICABLE = (*USER_ERRORS, AttributeError, KeyError)


class ModifiedRun:
    """A run with a change made.

    Attributes:
        is_possible: whether it could be made.
        before: the names of the calls before the first layer's.
        layers: as they were before the change.
    """

    def __init__(self, change: Change, run: TrainingRun, samples: Batch) -> None:
        self.change, self.run = change, run
        self.model, self.optimizer = run.model, run.optimizer
        self.logits: Tensor | None = None
        self.edits: dict[int, Callable[..., Any]] = {}
        self.is_possible = True
        self.batches = _dealt(run.batches) if change.shuffled else run.batches
        self.lost = _lost_columns(samples[0]) if change.only_finite else None
        self._measure(samples)
        self._set_model()
        self.layers = found = self._traced_layers()
        if change.autograd:
            self.edits |= dict.fromkeys(self.cuts, lambda _func, x, *_args, **_kwargs: x)
        if change.init:
            self._draw(found)
        if change.guarded:
            calls = [call for traced in found for call in traced.after if call.name in GUARDS]
            self.edits |= {call.index: GUARDS[call.name] for call in calls}
        if change.activation:
            self._bend(found)
        # The last layer's own values.
        self.has_own_loss = change.stable_head or change.balanced
        is_step = isinstance(run, TrainingStepRun)
        if is_step and (change.negated or change.same_shape):
            self.is_possible = False
        if self.has_own_loss and not found:
            self.is_possible = False
        elif self.has_own_loss:
            self.edits[found[-1].last_linear.index] = self._keep_logits
        self._set_optimizer()

    def _set_model(self) -> None:
        if self.change.training_mode:
            self.model.train()
        if self.change.all_trained:
            self._train_all()
        if self.change.float32:
            self.model.float()

    def _measure(self, samples: Batch) -> None:
        change, run = self.change, self.run
        x, target = self._finite(samples)
        self.of_inputs = _moments(x) if change.inputs else None
        if self.of_inputs and run.packing:
            fixed = ~run.packing.columns.to(x.device)  # indices, masks, weights
            self.of_inputs[0][fixed], self.of_inputs[1][fixed] = 0.0, 1.0
        self.of_targets = _moments(target) if change.targets == "standardized" else None
        self.least = target.min() if change.targets == "from 0" else None
        self.weight = _class_weights(target) if change.balanced else None

    def _set_optimizer(self) -> None:
        change = self.change
        if change.adam:
            self.optimizer = torch.optim.Adam(
                [p for group in self.optimizer.param_groups for p in group["params"]]
            )
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * change.lr_factor
            if change.momentum is not None:
                if "betas" in group:
                    group["betas"] = (change.momentum, *group["betas"][1:])
                elif group.get("momentum"):
                    group["momentum"] = change.momentum
                else:
                    self.is_possible = False
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    def _train_all(self) -> None:
        held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        parameters = [*self.model.requires_grad_(requires_grad=True).parameters()]
        if lost := [p for p in parameters if id(p) not in held]:
            self.optimizer.add_param_group({"params": lost})

    def _traced_layers(self) -> list[TracedLayer]:
        trace = Trace(self.model)
        generator = torch.get_rng_state()
        buffers = [(b, b.clone()) for b in self.model.buffers()]
        batch = self.batch(0)
        with torch.no_grad(), trace:
            self.run.call(batch[0])
        for buffer, value in buffers:
            buffer.copy_(value)
        torch.set_rng_state(generator)
        self.cuts = detached(trace)
        found = find_layers(trace.calls)
        first = found[0].call.index if found else 0
        self.before = [call.name for call in trace.calls if call.index < first]
        return found

    def batch(self, step: int) -> Batch:
        """The batch of a step, as changed."""
        batches = self.batches
        for k in range(len(batches)):
            x, target = self.data(batches[(step + k) % len(batches)])
            if len(x):
                return x, target
        raise ValueError("no sample is finite")

    def data(self, batch: Batch) -> Batch:
        """A batch, as changed."""
        x, target = self._finite(batch)
        if self.of_inputs:
            x = (x - self.of_inputs[0]) / self.of_inputs[1]
        if self.of_targets:
            target = (target - self.of_targets[0]) / self.of_targets[1]
        if self.least is not None:
            target = target - self.least
        if self.change.float32:
            x = x.float()
            target = target.float() if target.is_floating_point() else target
        return x, target

    def _finite(self, batch: Batch) -> Batch:
        x, target = batch
        if self.lost is None:
            return batch
        if bool(self.lost.any()):
            x = x.masked_fill(self.lost, 0.0)
        keep = _finite_rows((x, target))
        return x[keep], target[keep]

    def _draw(self, found: list[TracedLayer]) -> None:
        torch.manual_seed(0)
        self._reset_parts(found)
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for k, traced in enumerate(found):
                weight = parameters[traced.call.weight]
                activation = traced.name
                if self.change.activation and k < len(found) - 1:
                    activation = self.change.activation
                is_last = k == len(found) - 1
                known = activation if activation in ACTIVATIONS else "tanh"
                name = "xavier" if is_last else auto_init(known)
                owner = traced.call.weight.rpartition(".")[0]
                bias = parameters.get(f"{owner}.bias" if owner else "bias")
                turned = traced.call.name != "linear" and weight.ndim == 2  # noqa: PLR2004
                initialise_(weight.T if turned else weight, bias, known, name)

    def _reset_parts(self, found: list[TracedLayer]) -> None:
        """What is no layer's is drawn as torch draws it, where its module can."""
        of_layers = {traced.call.weight.rpartition(".")[0] for traced in found}
        for name, module in self.model.named_modules():
            own = list(module.parameters(recurse=False))
            is_known = name in of_layers and not isinstance(module, nn.RNNBase)
            reset = getattr(module, "reset_parameters", None)
            if own and not is_known and callable(reset):
                reset()

    def _bend(self, found: list[TracedLayer]) -> None:
        change = self.change
        is_twice = len({traced.call.index for traced in found}) < len(found)
        if is_twice or any(traced.call.name in RECURRENT for traced in found):
            self.is_possible = False
            return
        for traced in found[:-1]:
            if traced.activation:
                self.edits[traced.activation.index] = _replaced(change.activation)
            elif traced.is_nonlinear:
                same = [c for c in traced.after if c.output.shape == traced.call.output.shape]
                keeper = _Kept()
                self.edits[traced.last_linear.index] = keeper.keep
                self.edits[same[-1].index] = keeper.bent(change.activation)
            else:
                self.edits[traced.last_linear.index] = _followed(change.activation)

    def _keep_logits(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.logits = func(*args, **kwargs)
        return self.logits

    @property
    def has_schedule(self) -> bool:
        """Whether the rate is another at every step."""
        return self.change.decay or self.run.has_schedule

    def share(self, step: int, steps: int) -> float:
        """Of its rate, what a step of so many takes."""
        if self.change.decay:
            return 0.5 * (1 + math.cos(math.pi * step / steps))
        return self.run.rate(step, steps)

    def train(self, steps: int) -> list[float]:
        """Losses of so many steps, up to the first that is not finite.

        Raises:
            OutOfTimeError: the run's time is out.
        """
        losses = []
        for step in range(steps):
            self.run.deadline.check()
            if self.has_schedule:
                share = self.share(step, steps)
                for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                    group["lr"] = rate * share
            self.optimizer.zero_grad()
            batch = self.batch(step)
            loss = self.loss(batch)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                break
            if not loss.requires_grad:
                break
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            if not gradients or not all_finite(gradients):
                losses.append(math.nan)
                break
            closed = self.run.needs_closure and not self.change.adam
            update(self.optimizer, partial(self.loss, batch), with_closure=closed)
        return losses

    def loss(self, batch: Batch) -> Tensor:
        """Of a batch: the run's own, or the stable one."""
        is_other = self.change.negated or self.change.same_shape
        if not self.has_own_loss and not is_other:
            with Trace(self.model, self.edits, keep=False) if self.edits else nullcontext():
                return self.run.forward(batch)[1]
        if not self.has_own_loss:
            return self.loss_of(self.forward(batch[0]), batch[1])
        self.forward(batch[0])
        assert self.logits is not None
        return self.loss_of(self.logits, batch[1])

    def loss_of(self, output: Tensor, target: Tensor) -> Tensor:
        """Of an output: the run's own, or the stable one, which reads the last layer's."""
        if self.has_own_loss:
            return stable_loss(output, target, self.weight)
        if self.change.same_shape:
            target = target.reshape(output.shape)
        value = self.run.loss_of(output, target)
        return -value if self.change.negated else value

    def forward(self, x: Tensor) -> Tensor:
        """The output, with the edits made."""
        with Trace(self.model, self.edits, keep=False) if self.edits else nullcontext():
            output: Tensor = self.run.call(x)
            return output

    def score(self, samples: Batch, scoring: Scoring) -> float:
        """Of the samples as they are changed."""
        x, target = self.data(samples)
        if self.has_own_loss:
            scoring = Scoring(scoring.kind, 0.0)

        def forward(x: Tensor) -> Tensor:
            output = self.forward(x)
            if not self.has_own_loss:
                return output
            assert self.logits is not None
            return self.logits

        return scoring(outputs(forward, self.run, (x, target)), target)


def stable_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The loss that fits targets and raw outputs, computed stably."""
    if target.is_floating_point() and logits.numel() == target.numel():
        whole = bool(((target == 0) | (target == 1)).all())
        if not whole and set(torch.unique(target).tolist()) == {-1.0, 1.0}:
            target, whole = (target + 1) / 2, True
        if not whole:
            return F.mse_loss(logits.reshape(target.shape), target)
        one_hot = target.ndim > 1 and target.shape[-1] > 1
        if not one_hot or not bool((target.sum(-1) == 1).all()):
            flat = target.reshape(logits.shape)
            weights = None if weight is None else weight[flat.long()]
            return F.binary_cross_entropy_with_logits(logits, flat, weights)
    labels = class_labels(target)
    logits = classes_last(logits, target)
    if logits.numel() == labels.numel():
        flat = labels.reshape(logits.shape).to(logits.dtype)
        weights = None if weight is None else weight[flat.long()]
        return F.binary_cross_entropy_with_logits(logits, flat, weights)
    weight = None if weight is None else weight.to(logits.dtype)
    return F.cross_entropy(logits.flatten(0, -2), labels, weight)


class _Kept:
    """A value kept between two edits of one pass."""

    def keep(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.value = func(*args, **kwargs)
        return self.value

    def bent(self, activation: str) -> Callable[..., Any]:
        return lambda *_args, **_kwargs: activate(self.value, activation)


def _from_zero(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    return func(x.clamp_min(TINY), *args, **kwargs)


def _from_overflow(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    return func(x.clamp_max(0.9 * math.log(torch.finfo(x.dtype).max)), *args, **kwargs)


def _by_nonzero(func: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    if args and isinstance(args[0], Tensor):
        args = (torch.where(args[0].abs() < TINY, TINY, args[0]), *args[1:])
    return func(x, *args, **kwargs)


TINY = 1e-6
GUARDS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("log", "sqrt", "rsqrt", "reciprocal", "log2", "log10"), _from_zero),
    **dict.fromkeys(("exp", "expm1", "sinh", "cosh"), _from_overflow),
    **dict.fromkeys(("div", "__truediv__", "true_divide"), _by_nonzero),
}


def _replaced(activation: str) -> Callable[..., Any]:
    return lambda _func, z, *_args, **_kwargs: activate(z, activation)


def _followed(activation: str) -> Callable[..., Any]:
    return lambda func, *args, **kwargs: activate(func(*args, **kwargs), activation)


def _dealt(batches: list[Batch]) -> list[Batch]:
    """The same samples, dealt out to as many batches at random."""
    x = torch.cat([batch[0] for batch in batches])
    target = torch.cat([batch[1] for batch in batches])
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).to(x.device)
    rows = torch.split(order, len(batches[0][0]))
    return [(x[k], target[k.to(target.device)]) for k in rows]


def _finite_rows(batch: Batch) -> Tensor:
    x, target = batch
    keep = torch.isfinite(x.flatten(1)).all(1) if x.ndim > 1 else torch.isfinite(x)
    wanted = target.reshape(len(target), -1)
    return keep & torch.isfinite(wanted.double()).all(1)


def _lost_columns(x: Tensor) -> Tensor:
    """The features that are mostly not finite: nothing would be left without them."""
    return (~torch.isfinite(x)).double().mean(0) > 0.5  # noqa: PLR2004


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    flat = values.double()
    std = flat.std(0, correction=0)
    # A pixel that hardly moves would become noise of order 1.
    least = 0.01 if std.numel() >= FEW_FEATURES else NOTHING
    std = std.clamp_min(least * float(std.square().mean().sqrt()) + 1e-12)
    return flat.mean(0).to(values.dtype), std.to(values.dtype)


def _class_weights(target: Tensor) -> Tensor:
    labels = class_labels(target)
    counts = labels.bincount().clamp_min(1).double()
    return (counts.sum() / (len(counts) * counts)).to(torch.get_default_dtype())
