"""Pixels as the network takes them: scaled, and shifted at random."""

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from torch.nn.functional import pad


def scale_pixels(
    images: Shaped[Tensor, "batch ..."], dtype: torch.dtype
) -> Float[Tensor, "batch features"]:
    """One row per image: pixels 0..255 (uint8) become 0..1; floating values stay as they are."""
    rows = images.flatten(1)
    if images.dtype == torch.uint8:
        # The divisor's dtype makes it one pass, calculated in that dtype.
        return rows / torch.tensor(255, dtype=dtype)
    return rows.to(dtype)


def shift_images(images: UInt8[Tensor, "n h w"], max_shift: int) -> UInt8[Tensor, "n h w"]:
    """Move each image by its own random number of pixels, up to `max_shift` along each axis.

    What leaves the frame is lost and what enters it is 0. Drawn from torch's global generator.

    Raises:
        ValueError: for a negative `max_shift`.

    Source: Simard et al. (2003), Best practices for convolutional neural networks, section 2.
    """
    if max_shift < 0:
        raise ValueError(f"max_shift: {max_shift} pixels, expected at least 0")
    count, height, width = images.shape
    padded = pad(images, (max_shift,) * 4)
    device = images.device
    down = torch.randint(2 * max_shift + 1, (count, 1, 1), device=device)
    right = torch.randint(2 * max_shift + 1, (count, 1, 1), device=device)
    rows = down + torch.arange(height, device=device)[:, None]
    columns = right + torch.arange(width, device=device)
    return padded[torch.arange(count, device=device)[:, None, None], rows, columns]
