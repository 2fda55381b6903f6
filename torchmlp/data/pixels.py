import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def scale_pixels(
    images: Shaped[Tensor, "batch ..."], dtype: torch.dtype
) -> Float[Tensor, "batch features"]:
    """One row per image: pixels 0..255 (uint8) become 0..1; floating values stay as they are."""
    rows = images.flatten(1)
    if images.dtype == torch.uint8:
        # The divisor's dtype makes it one pass, calculated in that dtype.
        return rows / torch.tensor(255, dtype=dtype)
    return rows.to(dtype)
