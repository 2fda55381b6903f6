"""The losses e(a, t) of one sample and, beside each, its derivative e'(a, t).

Softmax and logistic function are inside the losses, where they can be stable: cross_entropy and bce
read the last layer's output as logits, and with an identity output layer each derivative is a plain
difference. Nothing here divides by the number of rows; `mean_of_losses` takes the mean, once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  torch's own spelling

from torchmlp.kernels.names import find


@dataclass(frozen=True)
class Loss:
    """One loss function and its derivatives, for each sample by itself.

    Attributes:
        value: (output, target) -> (*batch,).
        delta: (output, target) -> ∂e/∂output, (*batch, K).
        grad_target: (output, target) -> ∂e/∂target, (*batch, K), for targets that are not indices.
            Only mse's reads the target; None will do for the others.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    delta: Callable[[Tensor, Tensor], Tensor]
    grad_target: Callable[[Tensor, Any], Tensor]


def mean_of_losses(
    output: Float[Tensor, "*batch k"], target: Tensor, loss: str
) -> Float[Tensor, ""]:
    """The loss of a batch: E = (1/B) Σ_i e(output[i], target[i]).

    Computed, and returned, in at least float32.

    Args:
        output: the last layer's output: logits for cross_entropy and bce.
        target: class indices (*batch,) or probabilities (*batch, K) for cross_entropy; (*batch, K)
            for mse and bce.
        loss: one of `LOSSES`.

    Returns:
        A scalar, in nats (cross_entropy, bce) or squared units of the output (mse). As with
        torch.nn's losses, the mean over zero rows is nan (its gradients are zeros).

    Raises:
        ValueError: unknown loss, a target of another shape, or a class index outside 0..K-1.
        TypeError: a target dtype that the loss has no meaning for.

    Example:
        >>> mean_of_losses(torch.zeros(3, 10), torch.tensor([1, 5, 9]), "cross_entropy")
        tensor(2.3026)
    """
    find("loss", loss, LOSSES)
    check_target(output.shape, target, loss)
    return sample_losses(output, target, loss).mean()


def sample_losses(
    output: Float[Tensor, "*batch k"], target: Tensor, loss: str
) -> Float[Tensor, "*batch"]:
    """The loss e(output, target) of each sample, in at least float32; shapes are not looked at.

    Raises:
        ValueError: a class index outside 0..K-1.
    """
    try:
        return LOSSES[loss].value(_widen(output), target)
    except (RuntimeError, IndexError):
        _explain_label(output, target)
        raise


def loss_delta(
    output: Float[Tensor, "*batch k"], target: Tensor, loss: str
) -> Float[Tensor, "*batch k"]:
    """Derivative of each sample's loss with respect to the output: e'(output, target).

    Per sample: *not* divided by the number of rows. With an identity output layer it is the
    δ_L of softmax + cross-entropy, logistic + binary cross-entropy and identity + ½ squared error:
    prediction − target.

    Source: Bishop (2006), section 4.3.6 (canonical links). Checked in tests/kernels/test_losses.py.
    """
    return find("loss", loss, LOSSES).delta(_widen(output), target).to(output.dtype)


def weighted_target(
    target: Tensor, like: Tensor, class_weight: Tensor | None, label_smoothing: float
) -> Tensor:
    """Cross-entropy's target as the q of e = −Σ_c q_c log p_c, with weights and smoothing in it.

        q_c = w_c ((1 − ε) t_c + ε / K)

    Args:
        target: class indices (*batch,) or probabilities (*batch, K).
        like: (*batch, K), the output: gives K and the dtype.
        class_weight: w, (K,); None for ones.
        label_smoothing: ε, in 0 <= ε <= 1.

    Source: torch.nn.CrossEntropyLoss's documentation; Szegedy et al. (2016), section 7.
    """
    classes = like.shape[-1]
    if not target.is_floating_point():
        target = F.one_hot(target, classes).to(like.dtype)
    if label_smoothing:
        target = (1 - label_smoothing) * target + label_smoothing / classes
    return target if class_weight is None else class_weight * target


def sample_shares(
    target: Tensor, weight: Tensor | None, class_weight: Tensor | None
) -> Tensor | None:
    """Each sample's share in the mean loss, times the number of samples; None where all are equal.

        E = Σ_i s_i e_i / Σ_i s_i w_{t_i}

    As torch.nn.CrossEntropyLoss divides by the classes' weights where the target is an index, and
    does not where it is a distribution.

    Args:
        target: as the loss takes it.
        weight: s, (*batch,); None for ones.
        class_weight: w, (K,); None for ones.
    """
    has_labels = class_weight is not None and not target.is_floating_point()
    if weight is None and not has_labels:
        return None
    total = class_weight[target] if class_weight is not None and has_labels else None
    if weight is None:
        assert total is not None
        weight = torch.ones_like(total)
    total = weight if total is None else weight * total
    return weight * (weight.numel() / total.sum())


def check_target(shape: torch.Size, target: Tensor, loss: str) -> None:
    """Compare the target's shape and dtype with what the loss reads beside an output of `shape`.

    Raises:
        ValueError: the shapes do not fit; both are named.
        TypeError: the dtype does not fit.
    """
    indices = not (target.is_floating_point() or target.is_complex())
    if loss == "cross_entropy" and indices:
        expected = shape[:-1]
        if target.dtype != torch.int64:
            raise TypeError(
                f"cross_entropy: expected class indices of dtype torch.int64 or probabilities, got "
                f"{target.dtype}; convert with target.long()"
            )
    else:
        expected = shape
        if indices:
            raise TypeError(
                f"{loss}: expected a floating-point target of shape {tuple(expected)}, got "
                f"{target.dtype}; for class labels use one_hot(target, {shape[-1]}).float()"
            )
    if target.shape != expected:
        are_labels = loss == "cross_entropy" and target.shape == shape[:-1]
        raise ValueError(
            f"{loss}: expected a target of shape {tuple(expected)} for an output of shape "
            f"{tuple(shape)}, got {tuple(target.shape)}"
            + f"; class indices are integers, not {target.dtype}: target.long()"
            * are_labels
        )


def _widen(output: Tensor) -> Tensor:
    return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output


def _explain_label(output: Tensor, target: Tensor) -> None:
    # Only after torch has refused an index: looking first would cost every step a pass and, on a
    # GPU, a wait for the device.
    if target.is_floating_point():
        return
    classes = output.shape[-1]
    outside = target[(target < 0) | (target >= classes)]
    if outside.numel():
        raise ValueError(
            f"cross_entropy: label {int(outside[0])} is outside the {classes} classes "
            f"0..{classes - 1} ({outside.numel()} of {target.numel()} labels are); fix the labels "
            f"or out_features"
        )


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    log_p = torch.log_softmax(logits, -1)
    if target.is_floating_point():
        return -(target * log_p).sum(-1)
    return -log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)


def _cross_entropy_delta(logits: Tensor, target: Tensor) -> Tensor:
    p = torch.softmax(logits, -1)
    if target.is_floating_point():
        return p * target.sum(-1, keepdim=True) - target
    index = target.unsqueeze(-1)
    return p.scatter_add(-1, index, p.new_full((), -1.0).expand(index.shape))


def _cross_entropy_grad_target(logits: Tensor, _: Tensor | None) -> Tensor:
    return -torch.log_softmax(logits, -1)


def _mse(output: Tensor, target: Tensor) -> Tensor:
    return 0.5 * (output - target).square().sum(-1)


def _mse_delta(output: Tensor, target: Tensor) -> Tensor:
    return output - target


def _mse_grad_target(output: Tensor, target: Tensor) -> Tensor:
    return target - output


def _bce(logits: Tensor, target: Tensor) -> Tensor:
    # −t log σ(z) − (1−t) log σ(−z), where no exponential overflows
    target = target.to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)


def _bce_delta(logits: Tensor, target: Tensor) -> Tensor:
    return torch.sigmoid(logits) - target


def _bce_grad_target(logits: Tensor, _: Tensor | None) -> Tensor:
    return -logits


LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(_cross_entropy, _cross_entropy_delta, _cross_entropy_grad_target),
    "mse": Loss(_mse, _mse_delta, _mse_grad_target),
    "bce": Loss(_bce, _bce_delta, _bce_grad_target),
}
