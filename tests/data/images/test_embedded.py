import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from torchmlp.data import DataError, read_embedded
from torchmlp.data.images import embedded
from torchmlp.data.images.embedded import DIGITS_FILE


def test_counts_types_and_size() -> None:
    """500 training and 100 test images of each class, in at most 1.5 MB."""
    digits = read_embedded()
    assert digits.train_images.shape == (5000, 28, 28)
    assert digits.test_images.shape == (1000, 28, 28)
    assert digits.train_images.dtype == digits.test_images.dtype == torch.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == torch.int64
    assert digits.train_labels.bincount().tolist() == [500] * 10
    assert digits.test_labels.bincount().tolist() == [100] * 10
    assert DIGITS_FILE.stat().st_size <= 1_500_000
    assert "CC BY-SA 3.0" in DIGITS_FILE.with_suffix(".LICENSE").read_text()


def test_no_test_image_is_a_training_image() -> None:
    """Training and test images are disjoint, pixel for pixel."""
    digits = read_embedded()
    train = {image.numpy().tobytes() for image in digits.train_images}
    assert len(train) == 5000
    assert not train & {image.numpy().tobytes() for image in digits.test_images}


def test_classes_are_mixed() -> None:
    """Any stretch of 500 images holds all classes, so any stretch can be a minibatch."""
    for labels in read_embedded().train_labels.reshape(10, 500):
        assert labels.bincount(minlength=10).min() > 20


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500_000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, empty, Path.unlink])
def test_a_damaged_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    """Damage is a DataError that names the file, not a traceback of numpy."""
    copy = tmp_path / "digits.npz"
    shutil.copy(DIGITS_FILE, copy)
    damage(copy)
    monkeypatch.setattr(embedded, "DIGITS_FILE", copy)
    with pytest.raises(DataError, match=f"{copy} is missing or damaged"):
        read_embedded()
