import torch
from torch import Tensor

SHARE = 0.25  # of a device's free memory, for each array; what is left is for training


def place(values: Tensor, device: torch.device) -> Tensor:
    """The values on the device, where a batch of them costs no transfer, if they fit there.

    They fit when they take no more than a quarter of a CUDA device's memory that is free then;
    else, and for any other kind of device, they stay where they are.
    """
    if device.type != "cuda":
        return values
    free, _ = torch.cuda.mem_get_info(device)
    return values.to(device) if values.nbytes <= SHARE * free else values
