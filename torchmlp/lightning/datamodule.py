"""Images for Lightning: loaded once, kept as uint8, batched by index."""

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from torch import Tensor

from torchmlp._compat.lightning import pl
from torchmlp.data import (
    Batches,
    Images,
    check_labels,
    distort_images,
    load_images,
    prepare_images,
    shift_images,
)
from torchmlp.data.batches.device import to_device_if_it_fits
from torchmlp.data.distortions import check_distortions
from torchmlp.data.images.registry import CLASSES
from torchmlp.data.split import split_validation
from torchmlp.kernels.names import find


class TrainingBatches(Batches):
    """Shuffled batches of a run: epoch, and place in it, are those of the trainer.

    A resumed run so sees what it would have seen uninterrupted, from the middle of an epoch too.
    Without a trainer that trains, each iteration is the next epoch.
    """

    trainer: pl.Trainer | None = None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's batches that have not been trained on yet."""
        # A generator looks at the trainer when the first batch is drawn: Lightning iterates before,
        # once to try and once while a resumed run does not know its epoch.
        done = 0
        if self.trainer and self.trainer.training:
            loop = self.trainer.fit_loop
            epoch: int = loop.epoch_progress.current.processed  # type: ignore[attr-defined]
            # + 1: left to itself, Batches counts the trial too; published figures have that order.
            self.set_epoch(epoch + 1)
            done = loop.epoch_loop.batch_progress.current.ready
        yield from islice(super().__iter__(), done, None)

    def state_dict(self) -> dict[str, Any]:
        """Nothing, for the trainer knows the place; Lightning asks whether there is a method."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load."""


class ImageDataModule(pl.LightningDataModule):
    """Labelled images in memory, in three parts: training, validation and test.

    They are kept as uint8, on the GPU that trains where they fit, and drawn by index: no workers,
    no transfer for a batch.

    Args:
        dataset: "mnist", "fashion_mnist", "kmnist", "emnist_digits", "emnist_letters" or "usps".
        root: folder of the full data files, laid out as torchvision does.
        source: "auto" takes the full files, downloads them when they are not there, and trains on
            the 5000 digits that ship with the package when that fails; "full" never falls back;
            "embedded" takes the digits that ship.
        batch_size: images per step and process. Larger than the data: one short batch.
        val_size: images held out of the training set for validation; None holds out a tenth.
            The same ones in every run.
        max_shift: training images are moved by up to this many pixels along each axis, by another
            random offset each time they are seen; 0 leaves them alone.
        elastic_alpha: training images are distorted by smooth random fields of this scale, others
            each time they are seen; 34 is the literature's, 0 leaves them alone. See
            `torchmlp.data.distort_images`, for the next three too.
        elastic_sigma: how smooth the fields are, in pixels.
        max_rotation: training images are turned by up to so many degrees.
        max_scale: their width and height are changed by up to this share of 1.

    Raises:
        ValueError: an unknown dataset or source, a batch size below 1, a val_size that leaves
            nothing to train on, a setting out of its range.
        torchmlp.data.DataError: the files are not there, or damaged.
    """

    def __init__(
        self,
        dataset: str = "mnist",
        root: str = "data",
        source: str = "auto",
        batch_size: int = 64,
        val_size: int | None = None,
        max_shift: int = 0,
        elastic_alpha: float = 0.0,
        elastic_sigma: float = 4.0,
        max_rotation: float = 0.0,
        max_scale: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # what was really used is logged once it is known
        self.dataset, self.root, self.source = dataset, root, source
        self.batch_size, self.val_size = batch_size, val_size
        self.max_shift = max_shift
        if max_shift < 0:
            raise ValueError(f"max_shift: expected at least 0 pixels, got {max_shift}")
        check_distortions(elastic_alpha, elastic_sigma, max_rotation, max_scale)
        self.elastic_alpha, self.elastic_sigma = elastic_alpha, elastic_sigma
        self.max_rotation, self.max_scale = max_rotation, max_scale
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        self.images: Images | None = None
        self._seed: int | None = None  # of the order of a run's batches

    def state_dict(self) -> dict[str, int]:
        """The seed: a resumed run goes on in its order, whatever seed it is given."""
        return {} if self._seed is None else {"seed": self._seed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on in this order."""
        if self.trainer is not None and self.trainer.state.fn == "fit":
            self._seed = state_dict["seed"]

    def prepare_data(self) -> None:
        """Verify the files; download or unpack what is missing. One process per machine does it."""
        self.source = prepare_images(self.dataset, self.root, self.source)

    def setup(self, stage: str) -> None:
        """Load the images and hold out the validation part."""
        if stage == "fit" and self.trainer is not None:
            self._seed = _global_seed()
        if self.images is not None:
            return
        self.images = load_images(self.dataset, self.root, self.source, download=False)
        self.source = self.images.source
        self.hparams["source"] = self.source  # a checkpoint tells which images it has seen
        check_labels(self.images.train_labels, self.images.num_classes)
        check_labels(self.images.test_labels, self.images.num_classes)
        count = len(self.images.train_labels)
        size = count // 10 if self.val_size is None else self.val_size
        self._train, self._val = split_validation(count, size, seed=0)

    @property
    def title(self) -> str:
        """What the loaded data are called in reports."""
        return self._loaded.title

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by index."""
        return self._loaded.classes

    def count(self, part: Literal["train", "val", "test"]) -> int:
        """The number of images in a part."""
        images = self._loaded
        if part == "test":
            return len(images.test_labels)
        return len(self._train if part == "train" else self._val)

    @staticmethod
    def sizes(dataset: str) -> tuple[int, int]:
        """Pixels per image and number of classes of a data set, known without loading it.

        Raises:
            ValueError: an unknown data set.
        """
        return (256 if dataset == "usps" else 784), len(find("dataset", dataset, CLASSES))

    def train_dataloader(self) -> Batches:
        """Training batches, in an order that is a function of seed and epoch."""
        images = self._loaded
        rank, world_size = self._share()
        batches = TrainingBatches(
            self._place(images.train_images[self._train]),
            self._place(images.train_labels[self._train]),
            self.batch_size,
            # "Overfit this batch" wants the same batch in every epoch.
            shuffle=not getattr(self.trainer, "overfit_batches", 0),
            seed=_global_seed() if self._seed is None else self._seed,
            rank=rank,
            world_size=world_size,
        )
        batches.trainer = self.trainer
        return batches

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Shift and distort training images, on the device they have been moved to."""
        del dataloader_idx
        training = self.trainer is not None and self.trainer.training
        # Lightning also passes a model's lone example input through here.
        if not training or isinstance(batch, Tensor):
            return batch
        images, labels = batch
        if self.max_shift:
            images = shift_images(images, self.max_shift)
        if self.elastic_alpha or self.max_rotation or self.max_scale:
            images = distort_images(
                images,
                self.elastic_alpha,
                self.elastic_sigma,
                max_rotation=self.max_rotation,
                max_scale=self.max_scale,
            )
        return images, labels

    def val_dataloader(self) -> Batches | list[Batches]:
        """Validation batches, in order; none when nothing is held out."""
        images = self._loaded
        if len(self._val) == 0:
            return []
        return self._in_order(images.train_images[self._val], images.train_labels[self._val])

    def test_dataloader(self) -> Batches:
        """Test batches, in order."""
        return self._in_order(self._loaded.test_images, self._loaded.test_labels)

    def predict_dataloader(self) -> Batches:
        """The test images again, for predictions."""
        return self.test_dataloader()

    @property
    def _loaded(self) -> Images:
        if self.images is None:
            self.prepare_data()
            self.setup("fit")
        assert self.images is not None
        return self.images

    def _in_order(self, images: Tensor, labels: Tensor) -> Batches:
        # Evaluation has no gradient to be noisy: fewer, larger batches give the same figures.
        size, (rank, world_size) = max(self.batch_size, 1000), self._share()
        placed = self._place(images), self._place(labels)
        return Batches(*placed, size, rank=rank, world_size=world_size)

    def _place(self, values: Tensor) -> Tensor:
        return (
            to_device_if_it_fits(values, self.trainer.strategy.root_device)
            if self.trainer
            else values
        )

    def _share(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def _global_seed() -> int:
    """What seed_everything leaves, and Lightning's own samplers read."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
