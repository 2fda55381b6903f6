"""The digits that ship with the package."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from torchmlp._runtime.read_errors import UNREADABLE
from torchmlp.data.errors import DataError
from torchmlp.data.images.dataset import Images
from torchmlp.data.images.registry import CLASSES

DIGITS_FILE = Path(__file__).with_name("digits.npz")
EMBEDDED_TITLE = "embedded digits, a 6000-image subset of MNIST"


def read_embedded() -> Images:
    """The digits that ship with the package: 500 training and 100 test images per class of MNIST.

    They were drawn from MNIST's training and test files by `draw_digits`; licence: digits.LICENSE.

    Raises:
        DataError: when the file is missing or damaged.
    """
    try:
        # numpy does not read a packed array to its end, where the checksum is looked at.
        with zipfile.ZipFile(DIGITS_FILE) as archive:
            wrong = archive.testzip()
        if wrong is not None:
            raise zipfile.BadZipFile(f"the checksum of {wrong} is another")
        with DIGITS_FILE.open("rb") as file, np.load(file) as arrays:
            train_images, train_labels, test_images, test_labels = (
                torch.from_numpy(arrays[name])
                for name in ("train_images", "train_labels", "test_images", "test_labels")
            )
    except UNREADABLE as error:
        raise DataError(
            f"{DIGITS_FILE} is missing or damaged ({type(error).__name__}: {error}).\n"
            "Way out: install torchmlp again."
        ) from error
    return Images(
        dataset="mnist",
        source="embedded",
        title=EMBEDDED_TITLE,
        train_images=train_images,
        train_labels=train_labels.long(),
        test_images=test_images,
        test_labels=test_labels.long(),
        classes=CLASSES["mnist"],
    )
