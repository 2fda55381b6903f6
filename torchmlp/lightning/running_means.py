"""The mean loss and the accuracy of an epoch so far."""

from typing import Any

import torch
from torch import Tensor


class RunningMeans:
    """Adds up losses and right answers batch by batch, in the batches' order and in float64.

    So that the sums are the same however many batches are taken between two looks at them, and
    whether or not a run was cut in between.

    Attributes:
        loss: the sum over the images of their losses.
        right: how many images had their largest output at their label.
        count: images.
    """

    loss: float | Tensor
    right: int | Tensor
    count: int

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start anew, as an epoch does."""
        self.loss, self.right, self.count = 0.0, 0, 0

    def add(self, loss: Tensor, right: int | Tensor, count: int) -> None:
        """Take note of a batch of `count` images; nothing waits for a GPU."""
        if loss.is_cpu:
            self.loss += count * float(loss)
        else:
            # MPS has no float64.
            dtype = torch.float32 if loss.device.type == "mps" else torch.float64
            self.loss = torch.as_tensor(self.loss, dtype=dtype, device=loss.device) + count * loss
        self.right = self.right + right
        self.count += count

    def sums(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Loss and right answers, as tensors on `device`."""
        dtype = torch.float32 if device.type == "mps" else torch.float64
        loss = torch.as_tensor(self.loss, dtype=dtype, device=device)
        return loss, torch.as_tensor(self.right, dtype=dtype, device=device)

    def state_dict(self) -> dict[str, Any]:
        """The sums, as numbers."""
        return {"loss": float(self.loss), "right": int(self.right), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on adding to these."""
        self.loss, self.right, self.count = state["loss"], state["right"], state["count"]
