import pytest
import torch

from torchmlp.data import check_labels


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_in_range_pass(dtype: torch.dtype) -> None:
    """0 and num_classes - 1 are classes, in any integer dtype."""
    check_labels(torch.tensor([0, 9, 3], dtype=dtype), 10)
    check_labels(torch.tensor([], dtype=dtype), 10)


@pytest.mark.parametrize("label", [10, -1])
def test_the_first_label_outside_is_named(label: int) -> None:
    """The error names label, index and range."""
    with pytest.raises(ValueError, match=rf"label {label} at index 2 is outside .* 0..9 "):
        check_labels(torch.tensor([0, 1, label, 77]), 10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_only_integers_are_labels(dtype: torch.dtype) -> None:
    """Floats are refused even where they are whole."""
    with pytest.raises(TypeError, match=rf"got {dtype}; convert with .long\(\)"):
        check_labels(torch.ones(3, dtype=dtype), 10)
