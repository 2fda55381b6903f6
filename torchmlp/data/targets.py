"""What a loss compares the network's output with."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def target_of(labels: Tensor, loss: str, classes: int, dtype: torch.dtype) -> Tensor:
    """The labels themselves for cross_entropy; one-hot rows, (batch, classes), for mse and bce."""
    return labels if loss == "cross_entropy" else one_hot(labels, classes).to(dtype)
