from pathlib import Path

import torch
from torch import Tensor

from torchmlp.data.catalogue import CLASSES, TITLES, archives
from torchmlp.data.images import Images
from torchmlp.data.torchvision_repair import import_torchvision


def read_full(dataset: str, root: Path) -> Images:
    """Reads a data set's files, which `prepare_files` has verified, with torchvision's readers."""
    read = _read_usps if dataset == "usps" else _read_idx
    train_images, train_labels, test_images, test_labels = read(dataset, root)
    return Images(
        dataset=dataset,
        source="full",
        title=TITLES[dataset],
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=CLASSES[dataset],
    )


def _read_idx(dataset: str, root: Path) -> list[Tensor]:
    """Training images and labels, test images and labels of the MNIST family."""
    # Not the class MNIST: where its older versions left a processed/ folder, it reads that instead.
    reader = import_torchvision().datasets.mnist
    paths = [str(raw.path) for archive in archives(dataset, root) for raw in archive.raw_files]
    readers = [reader.read_image_file, reader.read_label_file] * 2
    tensors: list[Tensor] = [read(path) for read, path in zip(readers, paths, strict=True)]
    if dataset.startswith("emnist_"):  # EMNIST's images lie on their sides
        tensors[0::2] = [images.transpose(1, 2).contiguous() for images in tensors[0::2]]
    if dataset == "emnist_letters":  # a is 1 in the file
        tensors[1::2] = [labels - 1 for labels in tensors[1::2]]
    return tensors


def _read_usps(_dataset: str, root: Path) -> list[Tensor]:
    tensors: list[Tensor] = []
    for train in (True, False):
        read = import_torchvision().datasets.USPS(root, train=train, download=False)
        tensors += [torch.from_numpy(read.data), torch.tensor(read.targets)]
    return tensors
