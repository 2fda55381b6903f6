"""Which data sets there are, and for each which files, from where, with which checksums.

Addresses and checksums of archives are those of the installed torchvision, and so is the layout on
disk.
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchmlp._compat.torchvision_repair import import_torchvision

TITLES = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "Kuzushiji-MNIST",
    "emnist_digits": "EMNIST digits",
    "emnist_letters": "EMNIST letters",
    "usps": "USPS",
}

_DIGITS = tuple(string.digits)
CLASSES = {
    "mnist": _DIGITS,
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "emnist_digits": _DIGITS,
    "emnist_letters": tuple(string.ascii_lowercase),
    "usps": _DIGITS,
}

# Size in bytes and MD5 of MNIST's unpacked files, which are therefore trusted without their
# archives.
MNIST_FILES = {
    "train-images-idx3-ubyte": (47040016, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": (60008, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": (7840016, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": (10008, "27ae3e4e09519cfbb04c329615203637"),
}


# How torchvision calls their folders, or their files without what follows the first dot.
HOMES = {"MNIST", "FashionMNIST", "KMNIST", "EMNIST", "usps"}


@dataclass(frozen=True)
class RawFile:
    """An unpacked file; `member` is its .gz inside a zip archive, `known` its size and MD5."""

    path: Path
    member: str | None = None
    known: tuple[int, str] | None = None


@dataclass(frozen=True)
class Archive:
    """A file as it is downloaded, and what is unpacked from it (nothing, if it is read as is)."""

    path: Path
    md5: str
    urls: tuple[str, ...]
    raw_files: tuple[RawFile, ...] = ()


def archives(dataset: str, root: Path) -> tuple[Archive, ...]:
    """The archives that hold training images and labels, test images and labels, in this order."""
    datasets = import_torchvision().datasets
    if dataset == "usps":
        return tuple(
            Archive(root / name, md5, (url,))
            for url, name, md5 in (datasets.USPS.split_list[split] for split in ("train", "test"))
        )
    if dataset.startswith("emnist_"):
        return (_emnist(datasets.EMNIST, dataset.removeprefix("emnist_"), root / "EMNIST" / "raw"),)
    source = {
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
        "kmnist": datasets.KMNIST,
    }[dataset]
    known = MNIST_FILES if dataset == "mnist" else {}
    return tuple(_idx(source, root / source.__name__ / "raw", known))


def _idx(source: Any, folder: Path, known: dict[str, tuple[int, str]]) -> Iterator[Archive]:
    for packed, md5 in source.resources:
        name = packed.removesuffix(".gz")
        raw = RawFile(folder / name, known=known.get(name))
        yield Archive(folder / packed, md5, tuple(url + packed for url in source.mirrors), (raw,))


def _emnist(source: Any, split: str, folder: Path) -> Archive:
    names = [
        f"emnist-{split}-{part}-{kind}-ubyte"
        for part in ("train", "test")
        for kind in ("images-idx3", "labels-idx1")
    ]
    raw_files = tuple(RawFile(folder / name, member=f"gzip/{name}.gz") for name in names)
    return Archive(folder / source.url.rpartition("/")[2], source.md5, (source.url,), raw_files)
