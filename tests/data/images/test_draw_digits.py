import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.data.fake_datasets import fake_dataset
from torchmlp.data.images.draw_digits import draw, main, select
from torchmlp.data.images.embedded import DIGITS_FILE


def test_the_shipped_file_is_what_is_drawn(full_mnist_root: Path) -> None:
    """digits.npz can be made again from the full files, to the last pixel."""
    drawn = draw(full_mnist_root)
    with np.load(DIGITS_FILE) as shipped:
        assert set(shipped) == set(drawn)
        for name, array in drawn.items():
            assert shipped[name].dtype == array.dtype
            assert np.array_equal(shipped[name], array)


def test_selection_is_balanced_and_fixed() -> None:
    """As many of each class, in an order that is written down here."""
    labels = [index % 3 for index in range(30)]
    chosen = select(labels, 2, "train")
    assert sorted(labels[index] for index in chosen) == [0, 0, 1, 1, 2, 2]
    assert len(set(chosen)) == 6
    assert chosen == [25, 19, 11, 9, 6, 2]
    assert select(labels, 2, "test") != chosen


def test_the_same_bytes_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No date and no random name gets into the file."""
    fake_dataset(monkeypatch, "mnist").put_raw(tmp_path)
    for name in ("a.npz", "b.npz"):
        main([str(tmp_path), "--output", str(tmp_path / name)])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
