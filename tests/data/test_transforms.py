import pytest
import torch

from torchmlp.data import scale_pixels, shift_images

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_become_fractions(dtype: torch.dtype) -> None:
    """Each of the 256 values k becomes k / 255, rounded once, and the image stays as it was."""
    images = torch.arange(256, dtype=torch.uint8).reshape(2, 8, 16)
    rows = scale_pixels(images, dtype)
    expected = torch.tensor([k / 255 for k in range(256)], dtype=torch.float64)
    assert rows.dtype == dtype
    assert rows.shape == (2, 128)
    assert rows.flatten().equal(expected.to(dtype))
    assert images.flatten().tolist() == list(range(256))


def test_floating_values_are_not_scaled() -> None:
    """Inputs that are no pixels are only flattened and cast."""
    values = torch.randn(3, 2, 4)
    assert scale_pixels(values, torch.float64).equal(values.reshape(3, 8).double())
    assert scale_pixels(values[:, 0], torch.float32).equal(values[:, 0])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_empty_batch(dtype: torch.dtype) -> None:
    """No images give no rows, of the right length."""
    assert scale_pixels(torch.empty(0, 28, 28, dtype=dtype), torch.float32).shape == (0, 784)


def test_every_image_is_moved_whole_by_its_own_offset() -> None:
    """A pixel far from the border is found again, alone, at most max_shift away on each axis."""
    images = torch.zeros(500, 9, 7, dtype=torch.uint8)
    images[:, 4, 3] = torch.arange(500).remainder(255).add(1).to(torch.uint8)
    moved = shift_images(images, 2)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved.flatten(1).sum(1), images.flatten(1).sum(1))
    place = moved.nonzero()
    offsets = {(int(y) - 4, int(x) - 3) for _, y, x in place}
    assert len(place) == 500
    assert offsets == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}


def test_what_leaves_the_frame_is_lost() -> None:
    """Images full of 1 lose whole rows or columns at the border and nothing else."""
    moved = shift_images(torch.ones(200, 5, 5, dtype=torch.uint8), 1)
    assert set(moved.flatten(1).sum(1).tolist()) == {25, 20, 16}


def test_no_shift_changes_nothing() -> None:
    """max_shift 0 gives the images back."""
    images = torch.randint(256, (3, 4, 5), dtype=torch.uint8)
    assert torch.equal(shift_images(images, 0), images)


def test_negative_shift_is_refused() -> None:
    """The error names the value."""
    with pytest.raises(ValueError, match="max_shift: -1 pixels"):
        shift_images(torch.zeros(1, 2, 2, dtype=torch.uint8), -1)
