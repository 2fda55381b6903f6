"""Load a data set into memory, or the digits that ship in its place."""

import os
import warnings
from pathlib import Path
from typing import Literal

from torchmlp.data.errors import DataError, EmbeddedDataWarning
from torchmlp.data.images.dataset import Images
from torchmlp.data.images.embedded import EMBEDDED_TITLE, read_embedded
from torchmlp.data.images.idx import read_full
from torchmlp.data.images.registry import TITLES
from torchmlp.data.images.verify import check_root, prepare_files
from torchmlp.kernels.names import find


def load_images(
    dataset: str = "mnist",
    root: str | os.PathLike[str] = "data",
    source: str = "auto",
    *,
    download: bool = True,
) -> Images:
    """Load a data set into memory: `prepare_images`, then reading what that decided on.

    Args:
        dataset: mnist, fashion_mnist, kmnist, emnist_digits, emnist_letters or usps.
        root: the folder of the full files, laid out as torchvision does.
        source: "full" for the full files; "embedded" for the digits that ship with the package
            (mnist only); "auto" for the full files or else, for mnist and with an
            `EmbeddedDataWarning`, the embedded digits.
        download: whether missing files may be downloaded. Of several processes, let one call
            `prepare_images` and then all load with False.

    Raises:
        ValueError: for an unknown dataset or source, or embedded data of another set than mnist.
        DataError: when the files cannot be had, or are not the right ones and cannot be replaced.
    """
    if prepare_images(dataset, root, source, download=download) == "embedded":
        return read_embedded()
    return read_full(dataset, Path(root))


def prepare_images(
    dataset: str = "mnist",
    root: str | os.PathLike[str] = "data",
    source: str = "auto",
    *,
    download: bool = True,
) -> Literal["full", "embedded"]:
    """Verify a data set's files; unpack or download what is missing or wrong; load nothing.

    Arguments and errors are those of `load_images`.

    Returns:
        What there is to load. As the `source` of `load_images` it loads that, without a
        second warning.
    """
    find("dataset", dataset, TITLES)
    find("source", source, dict.fromkeys(("auto", "full", "embedded")))
    if source == "embedded":
        if dataset != "mnist":
            raise ValueError(
                f"source: no {dataset} ships with torchmlp, only mnist; "
                "use source='full' or dataset='mnist'"
            )
        return "embedded"
    check_root(dataset, Path(root))
    try:
        prepare_files(dataset, Path(root), allow_download=download)
    except DataError as error:
        if dataset != "mnist":
            raise
        reason = f"{error} Or ask for the digits that ship with torchmlp: source='embedded'."
        if source == "full":
            raise DataError(reason) from error
        warnings.warn(
            f"NOT THE FULL MNIST: using the {EMBEDDED_TITLE} instead.\n{reason}",
            EmbeddedDataWarning,
            stacklevel=2,
        )
        return "embedded"
    return "full"
