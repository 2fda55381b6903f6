import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.data.fake_datasets import Fake, fake_dataset
from torchmlp.data import (
    DataError,
    EmbeddedDataWarning,
    import_torchvision,
    load_images,
    prepare_images,
)
from torchmlp.data.images import load as loading
from torchmlp.data.images import verify as archives
from torchmlp.data.images.registry import CLASSES, TITLES


def assert_holds(dataset: str, root: Path, fake: Fake) -> None:
    images = load_images(dataset, root, "full", download=False)
    found = (images.train_images, images.train_labels, images.test_images, images.test_labels)
    for tensor, expected in zip(found, fake.tensors, strict=True):
        assert tensor.dtype == expected.dtype
        assert tensor.equal(expected)


@pytest.mark.parametrize("dataset", TITLES)
def test_reads_the_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str) -> None:
    """Archives alone are enough: verified, unpacked where torchvision does it, and read."""
    fake = fake_dataset(monkeypatch, dataset)
    fake.put_archives(tmp_path)
    assert_holds(dataset, tmp_path, fake)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {*fake.archives, *fake.raw}
    for name, content in fake.raw.items():
        assert (tmp_path / name).read_bytes() == content

    images = load_images(dataset, tmp_path, download=False)
    assert (images.dataset, images.source, images.title) == (dataset, "full", TITLES[dataset])
    assert images.in_features == (256 if dataset == "usps" else 784)
    assert images.num_classes == (26 if dataset == "emnist_letters" else 10)
    if dataset == "emnist_letters":
        assert images.classes[0] + images.classes[25] == "az"


@pytest.mark.parametrize(("dataset", "name"), [("mnist", "MNIST"), ("kmnist", "KMNIST")])
def test_torchvision_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, name: str
) -> None:
    """The folder is torchvision's in both directions."""
    fake = fake_dataset(monkeypatch, dataset)
    fake.put_archives(tmp_path)
    prepare_images(dataset, tmp_path, "full", download=False)
    theirs = getattr(import_torchvision().datasets, name)(tmp_path, train=False, download=False)
    assert theirs.data.equal(fake.tensors[2])
    assert theirs.targets.equal(fake.tensors[3])


def test_class_names_are_torchvisions() -> None:
    """The names written down here are in torchvision's order."""
    datasets = import_torchvision().datasets
    for dataset, source in (("fashion_mnist", datasets.FashionMNIST), ("kmnist", datasets.KMNIST)):
        assert list(CLASSES[dataset]) == source.classes


def test_mnist_needs_no_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST's unpacked files are trusted by their own checksums."""
    fake = fake_dataset(monkeypatch, "mnist")
    fake.put_raw(tmp_path)
    assert_holds("mnist", tmp_path, fake)


def test_a_processed_folder_of_old_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision's class would prefer these unverified files to the verified ones."""
    fake = fake_dataset(monkeypatch, "mnist")
    fake.put_raw(tmp_path)
    (tmp_path / "MNIST" / "processed").mkdir()
    other = (torch.zeros(3, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    for name in ("training.pt", "test.pt"):
        torch.save(other, tmp_path / "MNIST" / "processed" / name)
    assert_holds("mnist", tmp_path, fake)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    other = path.with_name(
        re.sub("train|t10k", lambda m: "t10k" if m[0] == "train" else "train", path.name)
    )
    path.write_bytes(other.read_bytes())


DAMAGES = [truncate, empty, flip_a_bit, swap]
FILES = ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_mnist_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], name: str
) -> None:
    """Any damage is noticed; the error names file, what it is and should be, and the way out."""
    fake = fake_dataset(monkeypatch, "mnist")
    fake.put_raw(tmp_path)
    path = tmp_path / "MNIST" / "raw" / name
    size = path.stat().st_size
    damage(path)
    found = path.stat().st_size
    told = f"has {found} bytes, expected {size}" if found != size else "has MD5 .*, expected "
    with pytest.raises(DataError, match=f"{path} {told}") as caught:
        load_images("mnist", tmp_path, "full", download=False)
    assert f"{name}.gz is missing" in str(caught.value)
    assert "Way out: put the original" in str(caught.value)
    assert str(caught.value).count("\n") < 3


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "emnist_digits"])
@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, Path.unlink])
def test_damage_is_repaired_from_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], dataset: str
) -> None:
    """With the archive beside it, each damaged file is unpacked again."""
    fake = fake_dataset(monkeypatch, dataset)
    fake.put_archives(tmp_path)
    fake.put_raw(tmp_path)
    for name in fake.raw:
        damage(tmp_path / name)
        assert_holds(dataset, tmp_path, fake)


@pytest.mark.parametrize("dataset", ["kmnist", "emnist_letters", "usps"])
@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, Path.unlink])
def test_a_damaged_archive_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], dataset: str
) -> None:
    """Where only the archive vouches for the data, a wrong one is an error, in auto mode too."""
    fake = fake_dataset(monkeypatch, dataset)
    fake.put_raw(tmp_path)
    fake.put_archives(tmp_path)
    path = tmp_path / list(fake.archives)[-1]
    damage(path)
    told = {Path.unlink: "is missing", empty: "has 0 bytes"}.get(damage, "has MD5 .*, expected ")
    for source in ("full", "auto"):
        with pytest.raises(DataError, match=f"{path} {told}"):
            load_images(dataset, tmp_path, source, download=False)


def test_intact_files_are_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading a complete folder changes nothing in it, so it may be read-only and shared."""
    fake = fake_dataset(monkeypatch, "emnist_letters")
    fake.put_archives(tmp_path)
    fake.put_raw(tmp_path)

    def stamps() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")}

    before = stamps()
    assert_holds("emnist_letters", tmp_path, fake)
    assert stamps() == before


def test_auto_falls_back_loudly(tmp_path: Path) -> None:
    """Without files and network, auto trains on the embedded digits and says why and what to do."""
    with pytest.warns(EmbeddedDataWarning) as caught:
        images = load_images("mnist", tmp_path, download=False)
    (warning,) = caught
    text = str(warning.message)
    assert "train-images-idx3-ubyte is missing" in text
    assert "using the embedded digits, a 6000-image subset of MNIST" in text
    assert "Way out: put the original train-images-idx3-ubyte.gz into" in text
    assert (images.source, images.dataset, images.num_classes) == ("embedded", "mnist", 10)


def test_full_never_falls_back(tmp_path: Path) -> None:
    """Full means full."""
    with pytest.raises(DataError, match="train-images-idx3-ubyte is missing") as caught:
        load_images("mnist", tmp_path, "full", download=False)
    assert "source='embedded'" in str(caught.value)
    assert str(caught.value).count("\n") < 3


def test_embedded_on_request_is_silent(tmp_path: Path) -> None:
    """Who asks for the embedded digits gets them without a warning; nothing is written."""
    assert load_images("mnist", tmp_path, "embedded").source == "embedded"
    assert not list(tmp_path.iterdir())


def test_one_process_prepares_and_all_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What prepare_images decides, load_images then loads, silently and without a network."""
    with pytest.warns(EmbeddedDataWarning):
        decided = prepare_images("mnist", tmp_path, download=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_images("mnist", tmp_path, decided, download=False).source == "embedded"

    fake = fake_dataset(monkeypatch, "mnist")
    fake.put_archives(tmp_path)
    assert prepare_images("mnist", tmp_path) == "full"
    monkeypatch.setattr(archives, "download", lambda *_: pytest.fail("asked the network"))
    assert_holds("mnist", tmp_path, fake)
    for path in tmp_path.rglob("t10k-labels*"):
        path.unlink()
    with pytest.raises(DataError, match="allow the download"):
        load_images("mnist", tmp_path, "full", download=False)


def test_unusable_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that is no folder is named, and nothing stands in for it; a full disk is named."""
    root = tmp_path / "file"
    root.touch()
    for source in ("full", "auto"):
        with pytest.raises(DataError, match=f"data folder {root} is no folder"):
            load_images("mnist", root, source)

    def full_disk(_urls: object, path: Path, _md5: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(archives, "download", full_disk)
    with pytest.raises(DataError, match=f"data folder {tmp_path}/new .*No space left on device"):
        load_images("usps", tmp_path / "new")


@pytest.mark.parametrize("source", ["auto", "full"])
def test_somebodys_folder_is_left_alone(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of pictures is no data set of ours: nothing is written into it, and no other digits
    are trained on in its place. One that is empty, or holds data sets, is filled."""
    prepared: list[Path] = []
    monkeypatch.setattr(loading, "prepare_files", lambda _, root, **how: prepared.append(root))  # noqa: ARG005
    (tmp_path / "cat.png").touch()
    (tmp_path / "dogs").mkdir()
    with pytest.raises(DataError, match=r"holds other things \(cat.png, dogs\) and no data set"):
        prepare_images("mnist", tmp_path, source)
    assert not prepared
    assert {path.name for path in tmp_path.iterdir()} == {"cat.png", "dogs"}
    (tmp_path / "empty").mkdir()
    (tmp_path / "ours" / "FashionMNIST").mkdir(parents=True)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "usps.t.bz2").touch()
    for name in ("empty", "new", "ours", "files"):
        assert prepare_images("mnist", tmp_path / name, source) == "full"
    assert len(prepared) == 4


def test_unknown_names() -> None:
    """A misspelt name gets the list and the nearest one."""
    expected = r"unknown dataset 'mnits'; did you mean 'mnist'\? expected one of: mnist, .*usps"
    with pytest.raises(ValueError, match=expected):
        load_images("mnits")
    with pytest.raises(ValueError, match="did you mean 'emnist_letters'"):
        load_images("emnist-letters")
    with pytest.raises(
        ValueError, match="unknown source 'offline'; expected one of: auto, full, emb"
    ):
        prepare_images("mnist", source="offline")
    with pytest.raises(ValueError, match="no usps ships with torchmlp, only mnist"):
        load_images("usps", source="embedded")


def test_full_mnist(full_mnist_root: Path) -> None:
    """The real files are recognized, and hold what every paper says."""
    images = load_images("mnist", full_mnist_root, "full", download=False)
    assert images.train_images.shape == (60000, 28, 28)
    assert images.test_images.shape == (10000, 28, 28)
    assert images.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert images.train_images.float().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)
