"""The step in torch's operators, into buffers: `torchmlp.kernels.network` in place.

Every activation, loss, dtype and device. `native_step` is the same in C++ where that is to be had;
this is its oracle.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torchmlp._compat.torch_internals import into_buffer
from torchmlp.engine.state.sgd_update import SGDUpdate, Slot
from torchmlp.engine.state.workspace import LayerBuffers, Workspace
from torchmlp.engine.steps.inplace_activations import in_place
from torchmlp.kernels.losses import loss_delta, mean_of_losses
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
    """

    def __init__(self, workspace: Workspace, loss: str, *, only_finite: bool = False) -> None:
        self.workspace, self.loss, self.only_finite = workspace, loss, only_finite
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

    def take(self, x: Tensor, target: Tensor, descents: Sequence[SGDUpdate]) -> Tensor:
        """Run the layers, scan the deltas, descend; the loss before the step."""
        with threads_for(self.work):
            x = self._read(x)
            self._run(x)
            loss = self._loss(target)
            self._scan()
            if not self.only_finite or math.isfinite(loss):
                self._descend(x, descents)
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

    def _loss(self, target: Tensor) -> Tensor:
        """The mean loss; the last layer's delta becomes e'(a, t)."""
        last = self.workspace.layers[-1]
        delta, output = last.delta, last.a
        assert delta is not None
        labels = self.loss == "cross_entropy" and not target.is_floating_point()
        if not labels or output.dtype in _HALF:
            delta.copy_(loss_delta(output, target, self.loss))
            return mean_of_losses(output, target, self.loss).to(output.dtype)
        try:
            # log p, the loss, p, p − onehot(t): one buffer.
            torch.log_softmax(output, 1, out=delta)
            loss: Tensor = _nll_loss(delta, target, None, 1, -100)
            delta.exp_().scatter_add_(1, target.unsqueeze(1), self.minus_one)
        except (RuntimeError, IndexError):
            mean_of_losses(output, target, self.loss)  # says which label is none
            raise
        return loss

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

    def _descend(self, x: Tensor, descents: Sequence[SGDUpdate]) -> None:
        slots = iter(self.slots)
        for layer in self.workspace.layers:
            if (weight := next(slots)) is not None:
                _update(weight, descents[weight.descent], layer, x)
            if (bias := next(slots)) is not None:
                _update(bias, descents[bias.descent], layer, self.workspace.ones)
            x = layer.dropped


def _update(slot: Slot, descent: SGDUpdate, layer: LayerBuffers, x: Tensor) -> None:
    """One parameter's step; for a bias, `x` is a column of ones."""
    value, into, _ = slot
    delta_t = layer.delta_t
    assert delta_t is not None
    if descent.ahead:
        value.add_(into, alpha=descent.ahead)
    if descent.decay:
        into.mul_(descent.fade).add_(value, alpha=descent.decay)
    if x.ndim > 1:
        into.addmm_(delta_t, x, beta=descent.beta, alpha=descent.alpha)
    elif into.dtype in _HALF:
        # Summed and scaled in float32 and rounded once, as in kernels.dense.
        total = delta_t.sum(1, dtype=torch.float32).mul_(descent.alpha)
        into.copy_(total.add_(into, alpha=descent.beta) if descent.beta else total)
    else:
        into.addmv_(delta_t, x, beta=descent.beta, alpha=descent.alpha)
    if descent.rate:
        value.sub_(into, alpha=descent.rate)
