"""Draws digits.npz, the part of MNIST that ships with the package, from the full files."""

import argparse
import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from torchmlp._runtime.atomic_file import atomic_writer
from torchmlp.data.images.embedded import DIGITS_FILE
from torchmlp.data.images.load import load_images

TRAIN_PER_CLASS = 500
TEST_PER_CLASS = 100


def select(labels: Sequence[int], per_class: int, salt: str) -> list[int]:
    """Indices of `per_class` images of each class, in an order that mixes the classes.

    Both the choice and the order sort by SHA-256, which no release of any library changes.
    """

    def rank(purpose: str, index: int) -> bytes:
        return hashlib.sha256(f"{salt} {purpose} {index}".encode()).digest()

    chosen: list[int] = []
    for label in sorted(set(labels)):
        members = [index for index, found in enumerate(labels) if found == label]
        chosen += sorted(members, key=lambda index: rank("choice", index))[:per_class]
    return sorted(chosen, key=lambda index: rank("order", index))


def draw(root: Path) -> dict[str, UInt8[np.ndarray, "..."]]:
    """The arrays of digits.npz, from the full files at `root`."""
    mnist = load_images("mnist", root, "full", download=False)
    train = select(mnist.train_labels.tolist(), TRAIN_PER_CLASS, "train")
    test = select(mnist.test_labels.tolist(), TEST_PER_CLASS, "test")
    return {
        "train_images": mnist.train_images[train].numpy(),
        "train_labels": mnist.train_labels[train].byte().numpy(),
        "test_images": mnist.test_images[test].numpy(),
        "test_labels": mnist.test_labels[test].byte().numpy(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file: the same bytes each time, as far as zlib compresses alike."""
    parser = argparse.ArgumentParser(
        prog="python -m torchmlp.data.images.draw_digits", description=__doc__
    )
    parser.add_argument("root", type=Path, help="folder of the full files, ROOT/MNIST/raw/*-ubyte")
    parser.add_argument("--output", type=Path, default=DIGITS_FILE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    with atomic_writer(options.output) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in draw(options.root).items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, unlike a file's
            member.create_system = 3  # Unix, on every system
            archive.writestr(member, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


if __name__ == "__main__":
    main()
