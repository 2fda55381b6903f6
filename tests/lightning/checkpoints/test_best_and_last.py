import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.disks import full_disk
from tests.lightning.lightning_runs import (
    Recorder,
    Scripted,
    ignore_lightnings_own,
    one_batch,
    quiet_trainer,
)
from torchmlp import Classifier, ImageDataModule
from torchmlp._compat.lightning import pl
from torchmlp.lightning.checkpoints.best_and_last import BestAndLast, best_and_last
from torchmlp.lightning.checkpoints.files import INTERRUPTED, AtomicCheckpointIO, find_checkpoint
from torchmlp.lightning.checkpoints.save_when_interrupted import SaveWhenInterrupted

pytestmark = ignore_lightnings_own

OLD, NEW = {"weights": torch.zeros(5)}, {"weights": torch.ones(100_000)}


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_is_written_and_replaced(tmp_path: Path) -> None:
    """Folders are made, the newer checkpoint replaces the older, nothing else is left."""
    path = tmp_path / "deep" / "er" / "last.ckpt"
    for checkpoint in (OLD, NEW):
        AtomicCheckpointIO().save_checkpoint(checkpoint, path)
        assert torch.load(path, weights_only=True)["weights"].equal(checkpoint["weights"])
    assert files_in(path.parent) == ["last.ckpt"]


def assert_old_is_whole(path: Path) -> None:
    """The checkpoint that was there can be read, and no half one lies beside it."""
    assert torch.load(path, weights_only=True)["weights"].equal(OLD["weights"])
    assert files_in(path.parent) == [path.name]


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    """When the system refuses to write on, the error names the file and the old one is whole."""
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(OLD, path)
    with full_disk(), pytest.raises(OSError, match=f"{path} not written: File too large"):
        AtomicCheckpointIO().save_checkpoint(NEW, path)
    assert_old_is_whole(path)


def test_a_write_that_fails_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a file never stands under the final name, and the error is the disk's."""
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(OLD, path)

    def half(checkpoint: Any, file: Any) -> None:
        del checkpoint
        file.write(b"PK half a checkpoint")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match=f"{path} not written: No space left on device"):
        AtomicCheckpointIO().save_checkpoint(NEW, path)
    assert_old_is_whole(path)


def test_an_interrupt_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a checkpoint stays Ctrl-C, and leaves the old one."""
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(OLD, path)

    def interrupted(checkpoint: Any, file: Any) -> None:
        del checkpoint
        file.write(b"PK half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpointIO().save_checkpoint(NEW, path)
    assert_old_is_whole(path)


def run_with(folder: Path, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    metrics = {"train_loss": [1.0] * 4, "val_accuracy": [0.25, 0.75, 0.5, 0.75]}
    trainer = quiet_trainer(
        folder, callbacks=list(callbacks), enable_checkpointing=True, max_epochs=4, **settings
    )
    trainer.fit(Scripted(metrics), one_batch(), one_batch())
    return trainer


def test_the_best_checkpoint_is_the_best_epochs(tmp_path: Path) -> None:
    """It holds the weights of the first epoch with the best accuracy, under a name that says so;
    the last checkpoint holds the last epoch's."""
    kept = best_and_last("val_accuracy")
    kept.dirpath = str(tmp_path / "kept")
    run_with(tmp_path, kept, plugins=[AtomicCheckpointIO()])
    assert files_in(tmp_path / "kept") == ["best-epoch=1-val_accuracy=0.7500.ckpt", "last.ckpt"]
    assert kept.best_model_score == 0.75
    best = torch.load(kept.best_model_path, weights_only=True)
    last = torch.load(kept.last_model_path, weights_only=True)
    # Scripted's weight counts the epochs that have ended.
    assert (best["epoch"], float(best["state_dict"]["weight"])) == (1, 2.0)
    assert (last["epoch"], float(last["state_dict"]["weight"])) == (3, 4.0)


def test_without_a_metric_the_newest_is_the_best(tmp_path: Path) -> None:
    """There is always a best checkpoint."""
    kept = best_and_last(None)
    kept.dirpath = str(tmp_path / "kept")
    run_with(tmp_path, kept)
    assert files_in(tmp_path / "kept") == ["best-epoch=3.ckpt", "last.ckpt"]


def resumed(folder: Path, accuracies: list[float]) -> tuple[BestAndLast, BestAndLast]:
    """What two epochs keep in folder/first, and two more of the same run in folder/second."""
    kept = [best_and_last("val_accuracy"), best_and_last("val_accuracy")]
    for callback, name in zip(kept, ("first", "second"), strict=True):
        callback.dirpath = str(folder / name)
    metrics = {"train_loss": [1.0] * 4, "val_accuracy": accuracies}
    for epochs, callback, resume in ((2, kept[0], None), (4, kept[1], folder / "first/last.ckpt")):
        trainer = quiet_trainer(
            folder, callbacks=[callback], enable_checkpointing=True, max_epochs=epochs
        )
        trainer.fit(Scripted(metrics), one_batch(), one_batch(), ckpt_path=resume)
    return kept[0], kept[1]


def test_the_best_of_a_resumed_run_is_the_best_of_both_parts(tmp_path: Path) -> None:
    """An earlier best stays the best, in its own folder, until a later epoch beats it."""
    first, second = resumed(tmp_path / "worse", [0.5, 0.75, 0.25, 0.5])
    assert second.best_model_path == first.best_model_path
    assert Path(first.best_model_path).is_file()
    assert files_in(tmp_path / "worse/second") == ["last.ckpt"]
    first, second = resumed(tmp_path / "better", [0.5, 0.75, 0.25, 1.0])
    assert Path(second.best_model_path).name == "best-epoch=3-val_accuracy=1.0000.ckpt"
    assert files_in(tmp_path / "better/first") == [Path(first.best_model_path).name, "last.ckpt"]


def test_a_best_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    """Where only the last checkpoint was kept, the resumed part has a best of its own."""
    callback = best_and_last("val_accuracy")
    callback.load_state_dict({"best_model_path": str(tmp_path / "gone.ckpt")})
    assert callback.best_model_path == ""


def put(root: Path, name: str, age: int) -> Path:
    """A checkpoint file, `age` seconds old."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_best_and_last_are_the_newest_runs(tmp_path: Path) -> None:
    """By the time they were written, not by the number of the folder."""
    put(tmp_path, "version_0/checkpoints/best-epoch=9-val_accuracy=0.9900.ckpt", 50)
    put(tmp_path, "version_0/checkpoints/last.ckpt", 50)
    best = put(tmp_path, "version_9/checkpoints/best-epoch=0-val_accuracy=0.5000.ckpt", 10)
    last = put(tmp_path, "version_9/checkpoints/last.ckpt", 10)
    put(tmp_path, "version_10/checkpoints/best-epoch=1-val_accuracy=0.6000.ckpt", 30)
    put(tmp_path, "version_10/checkpoints/last.ckpt", 30)
    assert find_checkpoint("best", tmp_path) == best
    assert find_checkpoint("last", tmp_path) == last


@pytest.mark.parametrize("last", [None, "version_0", "version_1"])
def test_an_interrupted_run_ends_with_its_interrupt(tmp_path: Path, last: str | None) -> None:
    """interrupted.ckpt is the last one where it is newest, and never the best."""
    if last:
        put(tmp_path, f"{last}/checkpoints/last.ckpt", 20)
    interrupted = put(tmp_path, f"version_1/checkpoints/{INTERRUPTED}", 10)
    assert find_checkpoint("last", tmp_path) == interrupted
    with pytest.raises(FileNotFoundError):
        find_checkpoint("best", tmp_path)


def test_no_checkpoint_is_an_error_that_says_where(tmp_path: Path) -> None:
    """A name finds nothing in an empty or missing folder, a path nothing where no file is."""
    for which in ("best", "last"):
        with pytest.raises(FileNotFoundError, match=f"{which}: .* in {tmp_path}/none, found none"):
            find_checkpoint(which, tmp_path / "none")
    for which in (f"{tmp_path}/no.ckpt", str(tmp_path)):
        with pytest.raises(FileNotFoundError, match=f"a checkpoint file, found none at {which}"):
            find_checkpoint(which, tmp_path)


def test_a_file_is_its_own_answer(tmp_path: Path) -> None:
    """A path is taken as it is."""
    path = put(tmp_path, "anything", 0)
    assert find_checkpoint(str(path), tmp_path / "none") == path


class Break(pl.Callback):
    """Raises after some steps."""

    def __init__(self, error: BaseException, after: int) -> None:
        self.error, self.after = error, after

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == self.after:
            raise self.error


def small_model() -> Classifier:
    torch.manual_seed(1)
    model = Classifier(hidden=[4])
    model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)  # type: ignore[method-assign]
    return model


def fit_digits(
    folder: Path, *callbacks: pl.Callback, epochs: int, resume: Path | None = None, **settings: Any
) -> tuple[Classifier, list[list[int]]]:
    """A run of nine batches per epoch; the model and the labels of the batches it saw."""
    kept = best_and_last("val_accuracy" if settings.get("val_size", 500) else None)
    kept.dirpath = str(folder)
    recorder, model = Recorder(), small_model()
    trainer = quiet_trainer(
        folder,
        max_epochs=epochs,
        callbacks=[*callbacks, recorder, kept],
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        **{key: value for key, value in settings.items() if key != "val_size"},
    )
    data = ImageDataModule(
        source="embedded", batch_size=500, val_size=settings.get("val_size", 500)
    )
    trainer.fit(model, datamodule=data, ckpt_path=resume)
    return model, [labels.tolist() for _, labels in recorder.batches]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interrupted_run_keeps_what_it_learned(tmp_path: Path, error: BaseException) -> None:
    """Ctrl-C and SIGTERM leave interrupted.ckpt, with the steps taken so far."""
    callback = SaveWhenInterrupted()
    with pytest.raises(SystemExit):
        fit_digits(tmp_path, callback, Break(error, 4), epochs=1)
    assert callback.saved == tmp_path / INTERRUPTED
    assert torch.load(callback.saved, weights_only=True)["global_step"] == 4


@pytest.mark.parametrize("error", [ValueError("a mistake"), RuntimeError("nan")])
def test_an_error_keeps_nothing(tmp_path: Path, error: Exception) -> None:
    """What an error has left may be what is wrong."""
    callback = SaveWhenInterrupted()
    with pytest.raises(type(error)):
        fit_digits(tmp_path, callback, Break(error, 4), epochs=1)
    assert callback.saved is None
    assert not (tmp_path / INTERRUPTED).exists()


def test_before_the_first_step_there_is_nothing_to_keep(tmp_path: Path) -> None:
    """An interrupt before the first step saves no untrained network."""

    class AtOnce(pl.Callback):
        def on_train_start(self, *_: Any) -> None:
            raise KeyboardInterrupt

    callback = SaveWhenInterrupted()
    with pytest.raises(SystemExit):
        fit_digits(tmp_path, callback, AtOnce(), epochs=1)
    assert callback.saved is None


def assert_same(one: Classifier, other: Classifier) -> None:
    """To the last bit."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(a.equal(b) for a, b in pairs)


@pytest.mark.parametrize("val_size", [500, 0])
@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_a_run_in_two_parts_is_the_run_in_one(tmp_path: Path, val_size: int) -> None:
    """Four epochs, and two and two more from last.ckpt: the same batches in the same order, the
    same weights bit for bit."""
    whole, seen = fit_digits(tmp_path / "whole", epochs=4, val_size=val_size)
    _, first = fit_digits(tmp_path / "first", epochs=2, val_size=val_size)
    last = tmp_path / "first" / "last.ckpt"
    resumed, second = fit_digits(tmp_path / "second", epochs=4, resume=last, val_size=val_size)
    assert first + second == seen
    assert_same(resumed, whole)


@pytest.mark.parametrize("after", [1, 9, 13, 18])
def test_a_run_resumes_in_the_middle_of_an_epoch(tmp_path: Path, after: int) -> None:
    """Interrupted after any step, here of nine per epoch, interrupted.ckpt goes on with the next
    batch: no batch is left out, none comes twice, and the weights are those of the uncut run."""
    whole, seen = fit_digits(tmp_path / "whole", epochs=3)

    class Cut(pl.Callback):
        """After a step has been counted, as SIGTERM ends a run."""

        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
            if trainer.global_step == after:
                raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        fit_digits(tmp_path / "first", SaveWhenInterrupted(), Cut(), epochs=3)
    saved = tmp_path / "first" / INTERRUPTED
    resumed, rest = fit_digits(tmp_path / "second", epochs=3, resume=saved)
    assert seen[:after] + rest == seen
    assert_same(resumed, whole)
