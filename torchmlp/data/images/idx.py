"""Read a data set's unpacked files."""

from pathlib import Path

import torch
from torch import Tensor

from torchmlp._compat.torchvision_repair import import_torchvision
from torchmlp.data.images.dataset import Images
from torchmlp.data.images.registry import CLASSES, TITLES, archives
from torchmlp.data.shards.format import idx_array


def read_full(dataset: str, root: Path) -> Images:
    """Read a data set's files, which `prepare_files` has verified."""
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
    # Not torchvision's class MNIST, which reads the processed/ folder that its older versions left.
    paths = [raw.path for archive in archives(dataset, root) for raw in archive.raw_files]
    tensors = [torch.from_numpy(idx_array(path).load()) for path in paths]
    tensors[1::2] = [labels.long() for labels in tensors[1::2]]
    if dataset.startswith("emnist_"):  # EMNIST stores images transposed
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
