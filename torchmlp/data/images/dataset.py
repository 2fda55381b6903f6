"""A set of images in memory."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Int64, UInt8
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Images:
    """A data set of labelled grey images, in memory.

    Attributes:
        dataset: the name it was asked for by, such as "mnist".
        source: "full" for the original files, "embedded" for the digits that ship with the package.
        title: what to call the data next to every number measured on it.
        train_images: pixels 0..255, ink or thread bright on dark ground.
        train_labels: class indices, 0..num_classes - 1.
        test_images: like `train_images`.
        test_labels: like `train_labels`.
        classes: the name of each class, by index.
    """

    dataset: str
    source: Literal["full", "embedded"]
    title: str
    train_images: UInt8[Tensor, "train height width"]
    train_labels: Int64[Tensor, " train"]
    test_images: UInt8[Tensor, "test height width"]
    test_labels: Int64[Tensor, " test"]
    classes: tuple[str, ...]

    @property
    def in_features(self) -> int:
        """Pixels per image."""
        return self.train_images[0].numel()

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)
