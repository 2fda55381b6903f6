import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.lightning.lightning_runs import Recorder, ignore_lightnings_own, quiet_trainer
from torchmlp import Classifier, ImageDataModule
from torchmlp._compat.lightning import pl
from torchmlp.data import DataError, EmbeddedDataWarning, import_torchvision, read_embedded

pytestmark = ignore_lightnings_own


@pytest.fixture
def _no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers where torchvision would download MNIST from."""
    monkeypatch.setattr(import_torchvision().datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])


def embedded(**settings: Any) -> ImageDataModule:
    return ImageDataModule(**{"source": "embedded", "batch_size": 500, **settings})


def small_model() -> Classifier:
    torch.manual_seed(1)
    return Classifier(hidden=[4])


def all_images(loader: Any) -> Tensor:
    return torch.cat([images for images, _ in loader])


def loaders_of(data: ImageDataModule) -> list[Any]:
    """Of training, validation, test and prediction, in this order."""
    return [
        data.train_dataloader(),
        data.val_dataloader(),
        data.test_dataloader(),
        data.predict_dataloader(),
    ]


def as_set(images: Tensor) -> set[bytes]:
    """Each image by its pixels."""
    return {image.numpy().tobytes() for image in images}


def test_the_parts_share_no_image() -> None:
    """Training, validation and test images are disjoint, and together they are the data."""
    data = embedded(val_size=700)
    parts = [as_set(all_images(loader)) for loader in loaders_of(data)[:3]]
    assert not any(one & other for one, other in itertools.combinations(parts, 2))
    whole = read_embedded()
    assert parts[0] | parts[1] == as_set(whole.train_images)
    assert parts[2] == as_set(whole.test_images)
    assert [data.count(part) for part in ("train", "val", "test")] == [4300, 700, 1000]


def test_labels_go_with_their_images() -> None:
    """Every image still has the label that the file gives it."""
    whole = read_embedded()
    label_of = {
        image.numpy().tobytes(): int(label)
        for image, label in zip(whole.train_images, whole.train_labels, strict=True)
    }
    data = embedded()
    for loader in loaders_of(data)[:2]:
        for images, labels in loader:
            assert [label_of[image.numpy().tobytes()] for image in images] == labels.tolist()


def test_a_tenth_is_held_out_by_default() -> None:
    """val_size None holds out a tenth of the training images."""
    data = embedded()
    assert (data.title, len(data.classes)) == (read_embedded().title, 10)
    assert (data.count("train"), data.count("val")) == (4500, 500)


def test_the_held_out_images_are_the_same_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another seed is another order of training, and not another validation part."""
    orders, held_out = [], []
    for seed in ("1", "2", "1"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        torch.manual_seed(int(seed))
        data = embedded()
        orders.append(all_images(data.train_dataloader()))
        held_out.append(all_images(data.val_dataloader()))
    assert held_out[0].equal(held_out[1])
    assert not orders[0].equal(orders[1])
    assert orders[0].equal(orders[2])


def test_pixels_stay_uint8(tmp_path: Path) -> None:
    """No batch is copied to floats before it is in the model; labels are class indices."""
    data = embedded(max_shift=1)
    for loader in loaders_of(data):
        images, labels = next(iter(loader))
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert images.shape[1:] == (28, 28)
    recorder = Recorder()
    trainer = quiet_trainer(tmp_path, max_steps=1, limit_val_batches=0, callbacks=[recorder])
    trainer.fit(small_model(), datamodule=data)
    assert recorder.batches[0][0].dtype == torch.uint8


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_without_validation(tmp_path: Path) -> None:
    """val_size 0 trains on everything and validates nothing."""
    data = embedded(val_size=0)
    assert data.val_dataloader() == []
    assert data.count("train") == 5000
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(small_model(), datamodule=data)
    assert "train_loss" in trainer.callback_metrics
    assert "val_loss" not in trainer.callback_metrics


def test_a_batch_larger_than_the_data() -> None:
    """It is one batch of all there is."""
    data = embedded(batch_size=10**6)
    assert [len(labels) for _, labels in data.train_dataloader()] == [4500]
    assert [len(labels) for _, labels in data.test_dataloader()] == [1000]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"max_shift": -1}, "max_shift: expected at least 0 pixels, got -1"),
        ({"elastic_alpha": -1.0}, "elastic_alpha: expected at least 0 pixels, got -1"),
        ({"max_scale": 2.0}, "max_scale: expected 0 <= max_scale < 1, got 2"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_at_once(settings: dict[str, Any], message: str) -> None:
    """Before anything is downloaded."""
    with pytest.raises(ValueError, match=message):
        ImageDataModule(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "mnst"}, "unknown dataset 'mnst'; did you mean 'mnist'"),
        ({"source": "embeded"}, "unknown source 'embeded'; did you mean 'embedded'"),
        ({"dataset": "kmnist"}, "no kmnist ships with torchmlp"),
        ({"val_size": 5000}, r"size=5000 of 5000 samples, expected 0\.\.4999"),
        ({"val_size": -1}, r"size=-1 of 5000 samples"),
    ],
    ids=str,
)
def test_data_that_are_not_there_are_an_error(settings: dict[str, Any], message: str) -> None:
    """What can be known only with the data in hand is a ValueError before the first batch."""
    with pytest.raises(ValueError, match=message):
        embedded(**settings).train_dataloader()


@pytest.mark.parametrize(
    ("dataset", "sizes"), [("mnist", (784, 10)), ("usps", (256, 10)), ("emnist_letters", (784, 26))]
)
def test_sizes_are_known_before_the_data(dataset: str, sizes: tuple[int, int]) -> None:
    """Pixels and classes of a data set, without its files."""
    assert ImageDataModule.sizes(dataset) == sizes


def test_sizes_of_an_unknown_data_set() -> None:
    """The nearest name is offered."""
    with pytest.raises(ValueError, match="unknown dataset 'usp'; did you mean 'usps'"):
        ImageDataModule.sizes("usp")


@pytest.mark.usefixtures("_no_mirror")
def test_falling_back_is_loud_and_remembered(tmp_path: Path) -> None:
    """Without files "auto" warns, and from then on the data are called what they are: in the
    checkpoint too, for there a second "auto" could mean other images."""
    data = ImageDataModule(root=str(tmp_path / "data"), batch_size=500)
    with pytest.warns(EmbeddedDataWarning, match="NOT THE FULL MNIST"):
        data.prepare_data()
    assert data.source == "embedded"
    trainer = quiet_trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(small_model(), datamodule=data)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    saved = torch.load(tmp_path / "one.ckpt", weights_only=True)["datamodule_hyper_parameters"]
    assert saved["source"] == "embedded"
    assert saved["dataset"] == "mnist"


@pytest.mark.usefixtures("_no_mirror")
def test_full_never_falls_back(tmp_path: Path) -> None:
    """The source "full" without files is an error that names the way out."""
    data = ImageDataModule(root=str(tmp_path), source="full")
    with pytest.raises(DataError, match="source='embedded'"):
        data.prepare_data()


def moved_part(folder: Path, stage: str, **settings: Any) -> tuple[Tensor, Tensor]:
    """The images of a part's first batch as the loader has them, and as they reach the model."""
    arrived: list[Tensor] = []

    class Looking(Classifier):
        def forward(self, images: Tensor) -> Tensor:
            arrived.append(images)
            return super().forward(images)

    data = embedded(val_size=500, **settings)
    trainer = quiet_trainer(
        folder, max_steps=1, limit_val_batches=0 if stage == "train" else 1, num_sanity_val_steps=0
    )
    model = Looking(hidden=[4])
    if stage == "train":
        trainer.fit(model, datamodule=data)
        loader: Any = data.train_dataloader()
        loader.set_epoch(1)
    elif stage == "val":
        trainer.validate(model, datamodule=data, verbose=False)
        loader = data.val_dataloader()
    else:
        trainer.test(model, datamodule=data, verbose=False)
        loader = data.test_dataloader()
    return next(iter(loader))[0], arrived[0]


def test_training_images_are_shifted(tmp_path: Path) -> None:
    """By up to max_shift pixels along each axis, each image by its own offset; 0 leaves them."""
    original, arrived = moved_part(tmp_path, "train")
    assert arrived.equal(original)
    original, arrived = moved_part(tmp_path, "train", max_shift=1)
    padded = torch.nn.functional.pad(original, (1, 1, 1, 1))
    offsets = set()
    for image, big in zip(arrived, padded, strict=True):
        found = [
            (down, right)
            for down in range(3)
            for right in range(3)
            if image.equal(big[down : down + 28, right : right + 28])
        ]
        assert found
        offsets.update(found)
    assert len(offsets) == 9


@pytest.mark.parametrize(
    "settings",
    [{"elastic_alpha": 34.0, "elastic_sigma": 5.0}, {"max_rotation": 10.0}, {"max_scale": 0.1}],
    ids=str,
)
def test_training_images_are_distorted(tmp_path: Path, settings: dict[str, float]) -> None:
    """Each setting by itself reaches the images; they stay bytes, and what they show."""
    original, arrived = moved_part(tmp_path, "train", **settings)
    assert arrived.dtype == torch.uint8
    changed = (arrived != original).flatten(1).any(1)
    assert changed.all()
    ink = arrived.double().sum() / original.double().sum()
    assert 0.9 < ink < 1.1


@pytest.mark.parametrize("stage", ["val", "test"])
def test_evaluation_images_are_not_moved(tmp_path: Path, stage: str) -> None:
    """What is measured is measured on the images as they are."""
    original, arrived = moved_part(tmp_path, stage, max_shift=3, elastic_alpha=34.0)
    assert arrived.equal(original)


def orders_of(folder: Path, data: ImageDataModule, **settings: Any) -> list[list[int]]:
    """The labels of each epoch's batches, as a run sees them."""
    recorder = Recorder()
    trainer = quiet_trainer(
        folder, callbacks=[recorder], limit_val_batches=0, num_sanity_val_steps=0, **settings
    )
    trainer.fit(small_model(), datamodule=data)
    per_epoch = int(trainer.num_training_batches)
    labels = [batch[1].tolist() for batch in recorder.batches]
    epochs = [labels[i : i + per_epoch] for i in range(0, len(labels), per_epoch)]
    return [[label for batch in epoch for label in batch] for epoch in epochs]


def test_each_epoch_of_a_run_has_its_own_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's three epochs are the loader's epochs 1, 2, 3: a function of seed and epoch."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    data = embedded()
    orders = orders_of(tmp_path, data, max_epochs=3)
    loader = data.train_dataloader()
    expected = []
    for epoch in (1, 2, 3):
        loader.set_epoch(epoch)
        expected.append([int(label) for _, labels in loader for label in labels])
    assert orders == expected
    assert len({tuple(order) for order in orders}) == 3


def test_overfitting_a_batch_repeats_it(tmp_path: Path) -> None:
    """overfit_batches shows the same images in every epoch."""
    orders = orders_of(tmp_path, embedded(), max_epochs=3, overfit_batches=1)
    assert len(orders) == 3
    assert orders[0] == orders[1] == orders[2]


def test_data_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second stage takes the images that are there."""
    data = embedded()
    data.prepare_data()
    data.setup("fit")
    images = data.images
    monkeypatch.setattr("torchmlp.lightning.datamodule.load_images", None)
    data.setup("test")
    assert data.images is images


def test_any_lightning_module_can_train_on_it(tmp_path: Path) -> None:
    """A batch is a pair (images, labels): nothing of this package's is needed to use it."""

    class Own(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(784, 10)

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            images, labels = batch
            return torch.nn.functional.cross_entropy(self.layer(images.flatten(1) / 255), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    trainer = quiet_trainer(tmp_path, max_steps=2)
    trainer.fit(Own(), train_dataloaders=embedded().train_dataloader())
    assert trainer.global_step == 2
