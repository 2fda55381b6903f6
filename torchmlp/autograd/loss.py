"""The losses as autograd nodes."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.overrides import handle_torch_function

from torchmlp.autograd.composed import is_composed, is_foreign, is_watched
from torchmlp.autograd.dense import autocast_is_on
from torchmlp.kernels.dense import averaging_scale
from torchmlp.kernels.losses import LOSSES, check_target, loss_delta, mean_of_losses
from torchmlp.kernels.names import find


def mean_loss(output: Tensor, target: Tensor, loss: str = "cross_entropy") -> Tensor:
    """The mean loss of a batch, differentiable in output and (where it is no index) target.

    Args:
        output: the last layer's output, (*batch, K): logits for cross_entropy and bce.
        target: class indices (*batch,) or probabilities (*batch, K) for cross_entropy; (*batch, K)
            for mse and bce.
        loss: "cross_entropy", "mse" (½ squared error) or "bce"; the last two are summed over the
            outputs.

    Returns:
        A scalar in the dtype of `output`; in float32 under autocast.

    Raises:
        ValueError: unknown loss, a target of another shape, or a class index outside 0..K-1.
        TypeError: a target of a dtype that the loss has no meaning for.

    Example:
        >>> mean_loss(torch.zeros(2, 2), torch.tensor([[1.0, 3.0], [0.0, 0.0]]), "mse")
        tensor(2.5000)
    """
    find("loss", loss, LOSSES)
    if is_watched():
        watched: Tensor = handle_torch_function(mean_loss, (), output, target, loss)
        return watched
    if is_foreign(output, target):
        return LOSSES[loss].value(output, target).mean()
    if autocast_is_on(output.device.type) and output.dtype != torch.float64:
        output = output.float()
    check_target(output.shape, target, loss)
    if is_composed(output, target):
        return mean_of_losses(output, target, loss).to(output.dtype)
    apply: Any = LossFunction.apply
    value: Tensor = apply(output, target, loss)
    return value


class LossFunction(Function):
    """E = (1/B) Σ_i e(output[i], target[i]) and its reverse mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(output: Tensor, target: Tensor, loss: str) -> Tensor:
        return mean_of_losses(output, target, loss).to(output.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        logits, target, ctx.loss = inputs
        reads_target = ctx.needs_input_grad[0] or ctx.loss == "mse"
        ctx.rows, ctx.target_dtype = logits.shape[:-1].numel(), target.dtype
        ctx.save_for_backward(logits, target if reads_target else None)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        output, target = ctx.saved_tensors
        share = grad * averaging_scale(ctx.rows)
        wants_output, wants_target = ctx.needs_input_grad[:2]
        return (
            loss_delta(output, target, ctx.loss) * share if wants_output else None,
            (LOSSES[ctx.loss].grad_target(output, target) * share).to(ctx.target_dtype)
            if wants_target
            else None,
            None,
        )
