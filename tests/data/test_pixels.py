import pytest
import torch

from torchmlp.data import scale_pixels

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
