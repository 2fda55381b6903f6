import pytest
import torch

from torchmlp.data import shift_images


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
