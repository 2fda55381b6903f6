"""Data on the device that trains, where they fit."""

import torch
from torch import Tensor

SHARE = 0.25  # of a device's free memory, for each array; what is left is for training


def to_device_if_it_fits(values: Tensor, device: torch.device) -> Tensor:
    """Move `values` to a CUDA device if they take at most a quarter of its free memory.

    They fit when they take no more than a quarter of a CUDA device's memory that is free then;
    else, and for any other kind of device, they stay where they are.
    """
    if device.type != "cuda":
        return values
    free, _ = torch.cuda.mem_get_info(device)
    return values.to(device) if values.nbytes <= SHARE * free else values
