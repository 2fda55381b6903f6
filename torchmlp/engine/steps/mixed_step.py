"""The step in mixed precision: parameters in float32, products in 16 bits.

What torch.autocast makes of a network, without autograd: each step rounds the parameters to copies
once, runs and scans in 16 bits, takes the loss in float32 and leaves float32 gradients, from which
the optimizer descends. Torch's operators, on a CPU and on a GPU.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler

from torchmlp.engine.state.addresses import fixed
from torchmlp.engine.state.updates import Rule
from torchmlp.engine.state.workspace import Workspace
from torchmlp.engine.steps.torch_step import TorchStep
from torchmlp.kernels.dense import averaging_scale
from torchmlp.nn.mlp import MLP

PRODUCTS = (torch.bfloat16, torch.float16)


def unsupported_precision(
    model: MLP, precision: torch.dtype | None, scaler: GradScaler | None
) -> str:
    """What keeps a model from being trained with products in this dtype; "" where nothing does."""
    if precision is None:
        return "a scaler is for products in 16 bits: give precision=torch.float16" * bool(scaler)
    if precision not in PRODUCTS:
        return f"expected precision to be torch.bfloat16, torch.float16 or None, got {precision}"
    found = model.weights[0].dtype
    if found != torch.float32:
        return (
            f"expected float32 parameters beside products in {precision}, got {found}; convert "
            f"them with model.float(), or leave precision out"
        )
    return ""


class MixedWorkspace(Workspace):
    """The buffers of a step in 16 bits, and the copies of the parameters that it reads.

    Args:
        model: gives the layers.
        rows: samples in a batch.
        lowest: index of the lowest layer that is trained.
        precision: of the buffers and copies.
        is_pixels: whether the inputs are uint8.
    """

    def __init__(
        self, model: MLP, rows: int, lowest: int, precision: torch.dtype, *, is_pixels: bool
    ) -> None:
        super().__init__(model, rows, lowest, is_pixels=is_pixels, precision=precision)
        like = model.weights[0].detach()
        self.x = fixed(self.ones, rows, like.shape[1])
        if self.input_mask is not None:  # of the input before it is rounded
            self.input_mask = fixed(like, rows, like.shape[1])
        pairs = zip(model.weights, model.biases, strict=True)
        self._pairs = [
            (copy, own.detach())
            for (weight, bias), layer in zip(pairs, self.layers, strict=True)
            for copy, own in ((layer.weight, weight), (layer.bias, bias))
            if copy is not None and own is not None
        ]

    def round_parameters(self) -> None:
        """Copy the parameters as they are now."""
        for copy, own in self._pairs:
            copy.copy_(own)


class MixedStep(TorchStep):
    """One step over a `MixedWorkspace`, to float32 gradients.

    Deltas are per sample and the average is taken in the products, as everywhere; with a scaler
    they carry its scale and the average, S/B, as autograd's do: S alone, 65536 at first, is more
    than float16 holds.

    Args:
        workspace: the buffers.
        loss: "cross_entropy", "mse" or "bce".
        is_scaled: whether `scale_by` is called before each step.
        options: as of `TorchStep`.
    """

    def __init__(
        self,
        workspace: MixedWorkspace,
        loss: str,
        *,
        is_scaled: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(workspace, loss, **options)
        self.mixed = workspace
        self.share = averaging_scale(workspace.rows)
        self.factor = (
            workspace.ones.new_full((), self.share, dtype=torch.float32) if is_scaled else None
        )
        self.products = [
            torch.empty_like(layer.weight) if layer.delta is not None else None
            for layer in workspace.layers
        ]

    def scale_by(self, scaler: GradScaler) -> None:
        """Let the next step's gradients be as many times as large as the scaler says."""
        assert self.factor is not None
        share = torch.full_like(self.factor, self.share)
        self.factor.copy_(scaler.scale(share))

    def take(
        self,
        x: Tensor,
        target: Tensor,
        rules: Sequence[Rule],
        *,
        weight: Tensor | None = None,
        share: float = 1.0,
    ) -> Tensor:
        """Round the parameters, run the layers, scan the deltas; the loss before the step."""
        self.mixed.round_parameters()
        return super().take(x, target, rules, weight=weight, share=share)

    def _read(self, x: Tensor) -> Tensor:
        workspace = self.mixed
        workspace.draw_masks()
        assert workspace.x is not None
        if workspace.is_pixels:
            x = x / 255 if workspace.input_mask is not None else torch.div(x, 255, out=workspace.x)
        if workspace.input_mask is not None:
            return torch.mul(x, workspace.input_mask, out=workspace.x)
        return x if workspace.is_pixels else workspace.x.copy_(x)

    def _loss(self, target: Tensor, weight: Tensor | None) -> Tensor:
        last = self.mixed.layers[-1]
        assert last.delta is not None
        loss, delta = self._loss_and_delta(last.a.float(), target, weight)
        last.delta.copy_(delta if self.factor is None else delta.mul_(self.factor))
        return loss

    def _descend(self, x: Tensor, rules: Sequence[Any], share: float) -> None:
        # The optimizer takes its own step, from gradients. With a scaler the deltas have the share.
        slots = iter(self.slots)
        share = share if self.factor is None else share / self.share
        for layer, product in zip(self.mixed.layers, self.products, strict=True):
            for is_weight in (True, False):
                if (slot := next(slots)) is None:
                    continue
                assert slot.into is not None
                assert product is not None
                assert layer.delta is not None
                assert layer.delta_t is not None
                kept = rules[slot.rule].beta
                if is_weight:
                    found = product.addmm_(layer.delta_t, x, beta=0, alpha=share).float()
                else:
                    found = layer.delta.sum(0, dtype=torch.float32).mul_(share)
                slot.into.mul_(kept).add_(found) if kept else slot.into.copy_(found)
            x = layer.dropped
