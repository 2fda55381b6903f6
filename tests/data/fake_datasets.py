"""Small data sets in the true file formats, with torchvision's checksums bent to theirs."""

import bz2
import gzip
import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from torchmlp.data import import_torchvision
from torchmlp.data.images import registry as catalogue

Pixels = npt.NDArray[np.uint8]

TRAIN, TEST = 52, 26

CLASS_NAMES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


@dataclass
class Fake:
    """What a loaded fake must hold, and its files by their place under the root."""

    tensors: tuple[Tensor, Tensor, Tensor, Tensor]
    archives: dict[str, bytes]
    raw: dict[str, bytes]

    def put_archives(self, root: Path) -> None:
        _put(root, self.archives)

    def put_raw(self, root: Path) -> None:
        _put(root, self.raw)


def _put(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def fake_dataset(
    monkeypatch: pytest.MonkeyPatch, dataset: str, mirrors: Sequence[str] = ("http://127.0.0.1:9/",)
) -> Fake:
    """A fake of the data set, which torchvision then takes for the original, at these mirrors."""
    random = np.random.default_rng(0)
    classes = 26 if dataset == "emnist_letters" else 10
    side = 16 if dataset == "usps" else 28
    parts = []
    for count in (TRAIN, TEST):
        images = random.integers(0, 256, (count, side, side), dtype=np.uint8)
        parts += [images, (np.arange(count) % classes).astype(np.uint8)]
    if dataset == "usps":
        archives, raw = _usps(monkeypatch, parts, mirrors[0])
    elif dataset.startswith("emnist_"):
        archives, raw = _emnist(monkeypatch, dataset.removeprefix("emnist_"), parts, mirrors[0])
    else:
        archives, raw = _mnist(monkeypatch, dataset, parts, mirrors)
    train_images, train_labels, test_images, test_labels = map(torch.from_numpy, parts)
    tensors = (train_images, train_labels.long(), test_images, test_labels.long())
    return Fake(tensors, archives, raw)


def _idx(array: Pixels) -> bytes:
    header = np.array([0x800 + array.ndim, *array.shape], dtype=">i4")
    return header.tobytes() + array.tobytes()


def _mnist(
    monkeypatch: pytest.MonkeyPatch, dataset: str, parts: list[Pixels], mirrors: Sequence[str]
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    source = getattr(import_torchvision().datasets, CLASS_NAMES[dataset])
    folder = f"{CLASS_NAMES[dataset]}/raw"
    raw = dict(zip(catalogue.MNIST_FILES, map(_idx, parts), strict=True))
    packed = {f"{name}.gz": gzip.compress(content) for name, content in raw.items()}
    monkeypatch.setattr(source, "mirrors", list(mirrors))
    monkeypatch.setattr(source, "resources", [(name, md5(gz)) for name, gz in packed.items()])
    if dataset == "mnist":
        known = {name: (len(content), md5(content)) for name, content in raw.items()}
        monkeypatch.setattr(catalogue, "MNIST_FILES", known)
    return (
        {f"{folder}/{name}": gz for name, gz in packed.items()},
        {f"{folder}/{name}": content for name, content in raw.items()},
    )


def _emnist(
    monkeypatch: pytest.MonkeyPatch, split: str, parts: list[Pixels], mirror: str
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    source = import_torchvision().datasets.EMNIST
    shift = 1 if split == "letters" else 0
    raw = {}
    for part, images, labels in (("train", parts[0], parts[1]), ("test", parts[2], parts[3])):
        raw[f"emnist-{split}-{part}-images-idx3-ubyte"] = _idx(images.transpose(0, 2, 1))
        raw[f"emnist-{split}-{part}-labels-idx1-ubyte"] = _idx(labels + np.uint8(shift))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("gzip/emnist-byclass-train-images-idx3-ubyte.gz", b"not asked for")
        for name, unpacked in raw.items():
            archive.writestr(f"gzip/{name}.gz", gzip.compress(unpacked))
    monkeypatch.setattr(source, "url", f"{mirror}gzip.zip")
    monkeypatch.setattr(source, "md5", md5(content.getvalue()))
    return (
        {"EMNIST/raw/gzip.zip": content.getvalue()},
        {f"EMNIST/raw/{name}": unpacked for name, unpacked in raw.items()},
    )


def _usps(
    monkeypatch: pytest.MonkeyPatch, parts: list[Pixels], mirror: str
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    archives, table = {}, {}
    for split, name, images, labels in (
        ("train", "usps.bz2", parts[0], parts[1]),
        ("test", "usps.t.bz2", parts[2], parts[3]),
    ):
        # The reader truncates (value + 1) / 2 * 255.
        rows = (images.reshape(len(images), -1) + 0.5) / 127.5 - 1
        lines = [
            " ".join([str(label + 1), *(f"{i}:{value:.6f}" for i, value in enumerate(row, 1))])
            for label, row in zip(labels, rows, strict=True)
        ]
        archives[name] = bz2.compress("\n".join(lines).encode())
        table[split] = [f"{mirror}{name}", name, md5(archives[name])]
    monkeypatch.setattr(import_torchvision().datasets.USPS, "split_list", table)
    return archives, {}
