"""Elastic distortions: images drawn again as another hand would have drawn them."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

# Share of the field's variance along an axis that is left out: 0.04 pixels of 1.4 at alpha 34.
LEFT_OUT = 1e-3


def distort_images(
    images: UInt8[Tensor, "n h w"],
    alpha: float,
    sigma: float = 4.0,
    *,
    max_rotation: float = 0.0,
    max_scale: float = 0.0,
) -> UInt8[Tensor, "n h w"]:
    """Move every pixel by its image's own smooth random field, after a random turn and stretch.

        image'(p) = image(A p + α u(p))       u = Gaussian_σ * noise of variance 1/3

    p is counted from the centre. Read between pixels bilinearly; what lies outside of the frame is
    0. Drawn from torch's global generator.

    Args:
        images: pixels 0..255.
        alpha: scale of the displacements, in pixels, of noise in -1..1 *before* it is smoothed: 34
            at a sigma of 4 moves a pixel by 1.4 along each axis (standard deviation).
        sigma: of the Gaussian, in pixels: small ones crumple, large ones move an image as a whole.
        max_rotation: degrees, to either side, drawn uniformly.
        max_scale: the largest change of an axis's length, as a share: 0.15 for 85 % .. 115 %, each
            axis by its own, drawn uniformly.

    Raises:
        ValueError: a setting out of its range.

    Cost: of a 28 x 28 image 100 normal numbers and 80 000 multiplications at sigma 4.
    Source: Simard et al. (2003), Best practices for convolutional neural networks, section 2.
    """
    check_distortions(alpha, sigma, max_rotation, max_scale)
    count, height, width = images.shape
    basis = _basis(height, width, sigma, images.device)
    turn = _uniform(count, math.radians(max_rotation), images.device)
    longer, higher = (1 + _uniform(count, max_scale, images.device) for _ in range(2))
    affine = [turn.cos() / longer, -turn.sin() / longer, turn.sin() / higher, turn.cos() / higher]
    noise = torch.randn(count, 2, len(basis) - 2, device=images.device) * (alpha / math.sqrt(3))
    parameters = torch.cat([torch.stack(affine, -1).reshape(count, 2, 2), noise], -1)
    # From pixels to what grid_sample counts in: the frame is -1..1, x comes first.
    parameters *= torch.tensor([[2 / width], [2 / height]], device=images.device)
    grid = (parameters @ basis).reshape(count, 2, height, width).permute(0, 2, 3, 1)
    found = grid_sample(images[:, None].float(), grid, align_corners=False)
    return found[:, 0].round_().to(torch.uint8)


def check_distortions(alpha: float, sigma: float, max_rotation: float, max_scale: float) -> None:
    """Look at the settings of `distort_images`.

    Raises:
        ValueError: one is out of its range; it is named as `ImageDataModule` names it.
    """
    if not alpha >= 0:
        raise ValueError(f"elastic_alpha: expected at least 0 pixels, got {alpha}")
    if not sigma > 0:
        raise ValueError(f"elastic_sigma: expected more than 0 pixels, got {sigma}")
    if not max_rotation >= 0:
        raise ValueError(f"max_rotation: expected at least 0 degrees, got {max_rotation}")
    if not 0 <= max_scale < 1:
        raise ValueError(f"max_scale: expected 0 <= max_scale < 1, got {max_scale}")


@lru_cache(maxsize=8)
def _basis(
    height: int, width: int, sigma: float, device: torch.device
) -> Float[Tensor, "terms pixels"]:
    """What the grid of an image is a sum of: x, y, and the waves of a smooth field.

    Smoothing noise is a matrix G on either side of it. Normal noise stays what it is when it is
    turned, so that with G = U S Vᵀ the field U S (noise) S Uᵀ is as likely as G (noise) Gᵀ; and
    where S is next to nothing no noise needs to be drawn. Of 28 x 28 waves 7 x 7 are left at
    sigma 4.
    """
    y, x = (torch.arange(n) - (n - 1) / 2 for n in (height, width))
    place = torch.stack(torch.meshgrid(y, x, indexing="ij"))[[1, 0]]
    rows, columns = (_waves(n, sigma) for n in (height, width))
    field = torch.einsum("ai,bj->abij", rows, columns)
    return torch.cat([place, field.flatten(0, 1)]).flatten(1).to(device)


def _waves(size: int, sigma: float) -> Float[Tensor, "waves size"]:
    """Rows of S Uᵀ, of the Gaussian along one axis, as many as are needed."""
    margin = math.ceil(4 * sigma)  # fields are as strong at the border as inside
    place = torch.arange(size, dtype=torch.float64)[:, None]
    noise = torch.arange(-margin, size + margin, dtype=torch.float64)
    gaussian = torch.exp(-((place - noise) ** 2) / (2 * sigma**2))
    gaussian /= sigma * math.sqrt(2 * math.pi)
    left, singular, _ = torch.linalg.svd(gaussian, full_matrices=False)
    rest = 1 - singular.square().cumsum(0) / singular.square().sum()
    waves: Tensor = (left * singular).t()[: int((rest > LEFT_OUT).sum()) + 1].float()
    return waves


def _uniform(count: int, limit: float, device: torch.device) -> Float[Tensor, " count"]:
    return (2 * torch.rand(count, device=device) - 1) * limit
