"""Class labels: checked, and encoded as a loss compares them."""

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn.functional import one_hot


def check_labels(labels: Shaped[Tensor, " n"], num_classes: int) -> None:
    """Check that class labels are integers in 0..num_classes - 1.

    Raises:
        TypeError: when they are no integers.
        ValueError: when one is outside; names the first.
    """
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise TypeError(
            f"labels: expected class indices of an integer dtype, got {labels.dtype}; "
            "convert with .long()"
        )
    outside = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(outside):
        index = int(outside[0])
        raise ValueError(
            f"labels: label {int(labels[index])} at index {index} is outside the classes "
            f"0..{num_classes - 1} (num_classes={num_classes})"
        )


def encode_targets(labels: Tensor, loss: str, classes: int, dtype: torch.dtype) -> Tensor:
    """The labels themselves for cross_entropy; one-hot rows, (batch, classes), for mse and bce."""
    return labels if loss == "cross_entropy" else one_hot(labels, classes).to(dtype)
