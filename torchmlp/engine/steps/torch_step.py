"""The step in torch's operators, into buffers: `torchmlp.kernels.network` in place.

Every activation, loss, dtype and device. `native_step` is the same in C++ where that is to be had;
this is its oracle.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchmlp._compat.torch_internals import into_buffer
from torchmlp.engine.state.sgd_update import SGDUpdate
from torchmlp.engine.state.updates import Rule, Slot
from torchmlp.engine.state.workspace import LayerBuffers, Workspace
from torchmlp.engine.steps.inplace_activations import in_place
from torchmlp.kernels.losses import (
    loss_delta,
    mean_of_losses,
    sample_losses,
    sample_shares,
    weighted_target,
)
from torchmlp.kernels.threads import threads_for

_HALF = (torch.float16, torch.bfloat16)
_nll_loss = into_buffer("nll_loss")


class TorchStep:
    """One step over a workspace's buffers.

    Args:
        workspace: the buffers.
        loss: "cross_entropy", "mse" or "bce".
        only_finite: whether a loss that is not finite leaves the parameters as they are; every step
            then waits for its loss.
        class_weight: (K,), of cross-entropy; None for ones.
        label_smoothing: of cross-entropy.
    """

    def __init__(
        self,
        workspace: Workspace,
        loss: str,
        *,
        only_finite: bool = False,
        class_weight: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self.workspace, self.loss, self.only_finite = workspace, loss, only_finite
        self.class_weight, self.label_smoothing = class_weight, label_smoothing
        self.weighting: dict[str, Any] = {
            "class_weight": class_weight,
            "label_smoothing": label_smoothing,
        }
        self.phi = [in_place(layer.activation) for layer in workspace.layers]
        dtype = workspace.layers[0].weight.dtype
        self.scale = torch.tensor(255, dtype=dtype, device=workspace.ones.device)
        self.minus_one = workspace.ones.new_full((), -1.0).expand(workspace.rows, 1)
        products = 3 * workspace.rows * sum(layer.weight.numel() for layer in workspace.layers)
        self.work = float(products) if self.scale.device.type == "cpu" else math.inf
        self.slots: Sequence[Slot | None] = ()

    def bind(self, slots: Sequence[Slot | None]) -> None:
        """Where the parameters' δᵀ a go: of W_1, b_1, ..., W_L, b_L."""
        self.slots = [slot and slot._replace(value=slot.value.detach()) for slot in slots]

    def take(
        self,
        x: Tensor,
        target: Tensor,
        rules: Sequence[Rule],
        *,
        weight: Tensor | None = None,
        share: float = 1.0,
    ) -> Tensor:
        """Run the layers, scan the deltas, descend; the loss before the step.

        Args:
            x: (rows, in_features).
            target: of as many rows.
            rules: of the step, `SGDUpdate`s.
            weight: of each row; None for ones.
            share: this batch's in the gradient.
        """
        with threads_for(self.work):
            x = self._read(x)
            self._run(x)
            loss = self._loss(target, weight)
            self._scan()
            if not self.only_finite or math.isfinite(loss):
                self._descend(x, rules, share / max(self.workspace.rows, 1))
            return loss

    def right(self, labels: Tensor) -> int | Tensor:
        """How many rows had their largest output at `labels`."""
        return (self.workspace.layers[-1].a.argmax(-1) == labels).sum()

    def _read(self, x: Tensor) -> Tensor:
        workspace = self.workspace
        workspace.draw_masks()
        if workspace.is_pixels:
            # One pass: the divisor's dtype is the one it is calculated in.
            x = torch.div(x, self.scale, out=workspace.x)
        if workspace.input_mask is not None:
            x = torch.mul(x, workspace.input_mask, out=workspace.x)
        return x

    def _run(self, x: Tensor) -> None:
        for layer, phi in zip(self.workspace.layers, self.phi, strict=True):
            if layer.bias is None:
                torch.mm(x, layer.weight_t, out=layer.z)
            else:
                torch.addmm(layer.bias, x, layer.weight_t, out=layer.z)
            phi.value(layer.z, layer.a)
            if layer.mask is not None:
                torch.mul(layer.a, layer.mask, out=layer.dropped)
            x = layer.dropped

    def _loss(self, target: Tensor, weight: Tensor | None) -> Tensor:
        """The mean loss; the last layer's delta becomes e'(a, t), times the row's weight."""
        last = self.workspace.layers[-1]
        delta, output = last.delta, last.a
        assert delta is not None
        labels = self.loss == "cross_entropy" and not target.is_floating_point()
        is_plain = weight is None and self.class_weight is None and not self.label_smoothing
        if not (labels and is_plain) or output.dtype in _HALF:
            mean, found = self._loss_and_delta(output, target, weight)
            delta.copy_(found)
            return mean.to(output.dtype)
        try:
            # log p, the loss, p, p − onehot(t): one buffer.
            torch.log_softmax(output, 1, out=delta)
            loss: Tensor = _nll_loss(delta, target, None, 1, -100)
            delta.exp_().scatter_add_(1, target.unsqueeze(1), self.minus_one)
        except (RuntimeError, IndexError):
            mean_of_losses(output, target, self.loss)  # says which label is none
            raise
        return loss

    def _loss_and_delta(
        self, output: Tensor, target: Tensor, weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The mean loss, and of each row e'(a, t) times its weight, out of place."""
        shares = sample_shares(target, weight, self.class_weight)
        if self.class_weight is not None or self.label_smoothing:
            if not target.is_floating_point():
                sample_losses(output, target, self.loss)  # says which label is none
            target = weighted_target(target, output, self.class_weight, self.label_smoothing)
        losses = sample_losses(output, target, self.loss)
        delta = loss_delta(output, target, self.loss)
        if shares is None:
            return losses.mean(), delta
        return (losses * shares).mean(), (delta * shares.unsqueeze(-1)).to(delta.dtype)

    def _scan(self) -> None:
        workspace = self.workspace
        layers = workspace.layers
        for k in reversed(range(workspace.lowest, len(layers))):
            layer, delta = layers[k], layers[k].delta
            assert delta is not None
            if k < len(layers) - 1:
                above = layers[k + 1]
                torch.mm(above.delta, above.weight, out=delta)  # type: ignore[arg-type]
                if layer.mask is not None:
                    delta.mul_(layer.mask)
            self.phi[k].pull_back(delta, layer.z, layer.a)

    def _descend(self, x: Tensor, rules: Sequence[Any], share: float) -> None:
        slots = iter(self.slots)
        for layer in self.workspace.layers:
            for of in (x, self.workspace.ones):  # the input of a weight and of a bias
                if (slot := next(slots)) is not None:
                    _update(slot, rules[slot.rule], layer, of, share)
            x = layer.dropped


def _update(slot: Slot, rule: SGDUpdate, layer: LayerBuffers, x: Tensor, share: float) -> None:
    """One parameter's step; for a bias, `x` is a column of ones."""
    value, into, delta_t = slot.value, slot.into, layer.delta_t
    assert delta_t is not None
    assert into is not None
    alpha = rule.alpha * share
    if rule.ahead:
        value.add_(into, alpha=rule.ahead)
    if rule.decay:
        into.mul_(rule.fade).add_(value, alpha=rule.decay)
    if x.ndim > 1:
        into.addmm_(delta_t, x, beta=rule.beta, alpha=alpha)
    elif into.dtype in _HALF:
        # Summed and scaled in float32 and rounded once, as in kernels.dense.
        total = delta_t.sum(1, dtype=torch.float32).mul_(alpha)
        into.copy_(total.add_(into, alpha=rule.beta) if rule.beta else total)
    else:
        into.addmv_(delta_t, x, beta=rule.beta, alpha=alpha)
    if rule.rate:
        value.sub_(into, alpha=rule.rate)
