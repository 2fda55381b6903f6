import math
from typing import Any

import pytest
import torch
from torch import Tensor

from torchmlp.data import distort_images


def ramps(count: int) -> Tensor:
    """Images whose pixels are eight times their column."""
    return (8 * torch.arange(28)).expand(count, 28, 28).to(torch.uint8)


def displacements(alpha: float, sigma: float) -> Tensor:
    """How far pixels inside of the frame were moved along a row, to 1/16 of a pixel."""
    torch.manual_seed(0)
    moved = distort_images(ramps(2000), alpha, sigma).double() / 8 - torch.arange(28.0)
    return moved[:, 7:21, 7:21]


@pytest.mark.parametrize(("alpha", "sigma"), [(34.0, 4.0), (10.0, 2.0), (60.0, 6.0)])
def test_a_field_is_smoothed_noise(alpha: float, sigma: float) -> None:
    """Noise of variance 1/3 under a Gaussian of σ has a deviation of α / √3 / (2 √π σ) everywhere,
    no mean, and a correlation of exp(-d² / 4σ²) at a distance of d, along either axis."""
    moved = displacements(alpha, sigma)
    expected = alpha / math.sqrt(3) / (2 * math.sqrt(math.pi) * sigma)
    deviation = moved.std(0)
    assert deviation.sub(expected).abs().max() < 0.08 * expected
    assert moved.mean(0).abs().max() < 0.1 * expected
    for distance in (1, 4, 9):
        wanted = math.exp(-(distance**2) / (4 * sigma**2))
        for pairs in (moved[:, :, distance:] * moved[:, :, :-distance],
                      moved[:, distance:] * moved[:, :-distance]):  # fmt: skip
            assert abs(pairs.mean() / expected**2 - wanted) < 0.06


def test_every_image_has_its_own_field_for_each_axis() -> None:
    """No two images are moved alike, and rows are moved otherwise than columns."""
    moved = displacements(34.0, 4.0)
    torch.manual_seed(0)
    down = distort_images(ramps(2000).transpose(1, 2), 34.0, 4.0).double() / 8
    down = (down - torch.arange(28.0)[:, None])[:, 7:21, 7:21]
    for other in (moved.roll(1, 0), down):
        pairs = torch.stack([moved.flatten(), other.flatten()])
        assert torch.corrcoef(pairs)[0, 1].abs() < 0.05


def test_pixels_are_read_between_four() -> None:
    """At a quarter of a pixel: bilinear in both axes, a pixel outside of the frame being 0."""
    image = torch.zeros(400, 9, 9, dtype=torch.uint8)
    image[:, 4, 4] = 200
    # So smooth that the image moves as a whole, by an offset that the ramps show.
    torch.manual_seed(0)
    found = distort_images(image, 90.0, 30.0).double()
    torch.manual_seed(0)
    offset = distort_images((20 * torch.arange(9)).expand(400, 9, 9).to(torch.uint8), 90.0, 30.0)
    x = 4 - (offset[:, 4, 4].double() / 20 - 4)  # where the pixel's centre went
    inside = (found.flatten(1).sum(1) > 190) & (offset[:, 4, 4] > 0)
    assert inside.sum() > 300
    centre = (found * torch.arange(9.0)).flatten(1).sum(1) / found.flatten(1).sum(1)
    assert (centre - x)[inside].abs().max() < 0.15
    assert found.flatten(1).gt(0).sum(1).max() <= 6  # four, and two where the field is not even


@pytest.mark.parametrize("settings", [{}, {"max_rotation": 0.0, "max_scale": 0.0}], ids=str)
def test_without_settings_nothing_changes(settings: dict[str, float]) -> None:
    """alpha 0 and no turn give the images back, of any size."""
    images = torch.randint(256, (5, 16, 12), dtype=torch.uint8)
    assert distort_images(images, 0.0, **settings).equal(images)


def test_images_are_turned_to_either_side() -> None:
    """A bar lies at up to 20 degrees afterwards, at all angles in between, as long as before, in a
    frame that is no square."""
    torch.manual_seed(0)
    images = torch.zeros(500, 29, 41, dtype=torch.uint8)
    images[:, 13:16, 10:31] = 255
    turned = distort_images(images, 0.0, max_rotation=20.0).double()
    assert turned.flatten(1).sum(1).div(255 * 63).sub(1).abs().max() < 0.01
    y, x = torch.meshgrid(torch.arange(-14.0, 15.0), torch.arange(-20.0, 21.0), indexing="ij")
    moments = [(turned * m).flatten(1).sum(1) for m in (x * x, y * y, x * y)]
    angles = torch.rad2deg(torch.atan2(2 * moments[2], moments[0] - moments[1]) / 2)
    assert angles.abs().max() < 20.5
    assert torch.histc(angles, 4, -20, 20).min() > 90


def test_images_are_stretched_along_each_axis() -> None:
    """A square of 12 pixels becomes 9 to 15 wide, and as high by another draw."""
    torch.manual_seed(0)
    images = torch.zeros(500, 29, 29, dtype=torch.uint8)
    images[:, 8:20, 8:20] = 255
    stretched = distort_images(images, 0.0, max_scale=0.25).double() / 255
    sizes = torch.stack([stretched[:, 14].sum(1), stretched[:, :, 14].sum(1)])
    assert sizes.min() > 8.9
    assert sizes.max() < 15.1
    assert sizes.std(1).sub(12 * 0.25 / math.sqrt(3)).abs().max() < 0.2
    assert torch.corrcoef(sizes)[0, 1].abs() < 0.1


def test_a_seed_is_a_distortion() -> None:
    """The same generator state draws the same images, another another."""
    images = torch.randint(256, (4, 28, 28), dtype=torch.uint8)
    drawn = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        drawn.append(distort_images(images, 34.0, max_rotation=10.0, max_scale=0.1))
    assert drawn[0].equal(drawn[2])
    assert not drawn[0].equal(drawn[1])
    assert drawn[0].dtype == torch.uint8


def test_the_empty_batch() -> None:
    """No images are no images."""
    assert distort_images(torch.empty(0, 28, 28, dtype=torch.uint8), 34.0).shape == (0, 28, 28)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": -1.0}, "elastic_alpha: expected at least 0 pixels, got -1"),
        ({"alpha": math.nan}, "elastic_alpha: expected at least 0 pixels, got nan"),
        ({"alpha": 1.0, "sigma": 0.0}, "elastic_sigma: expected more than 0 pixels, got 0"),
        ({"alpha": 1.0, "max_rotation": -5.0}, "max_rotation: expected at least 0 degrees, got -5"),
        ({"alpha": 1.0, "max_scale": 1.0}, "max_scale: expected 0 <= max_scale < 1, got 1"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    """The error names the setting, the value and the range."""
    with pytest.raises(ValueError, match=message):
        distort_images(torch.zeros(1, 2, 2, dtype=torch.uint8), **settings)
