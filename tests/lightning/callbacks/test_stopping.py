from pathlib import Path
from typing import Any

import pytest

from tests.lightning.lightning_runs import Scripted, ignore_lightnings_own, one_batch, quiet_trainer
from torchmlp._compat.lightning import pl
from torchmlp.lightning.callbacks.stopping import Stopping

pytestmark = ignore_lightnings_own

NAN = float("nan")
Losses = list[float]


def epochs_of(
    folder: Path, stopping: Stopping, max_epochs: int = 10, every_n: int = 1, **metrics: Losses
) -> int:
    """The number of epochs that a run with these metrics takes."""
    filled = {"train_loss": [1.0] * 10, **metrics}
    trainer = quiet_trainer(
        folder, max_epochs=max_epochs, callbacks=[stopping], check_val_every_n_epoch=every_n
    )
    trainer.fit(Scripted(filled), one_batch(), one_batch())
    return trainer.current_epoch


def test_by_default_nothing_stops_a_run(tmp_path: Path) -> None:
    """Metrics that stand still or are nan are nobody's business until a condition is named."""
    assert epochs_of(tmp_path, Stopping(), 5, val_loss=[1.0] * 3 + [NAN] * 2) == 5


def test_patience_counts_epochs_without_improvement(tmp_path: Path) -> None:
    """A new best loss starts the count again; the run ends after `patience` epochs without one."""
    losses = [5.0, 4.0, 4.5, 3.0, 3.0, 3.5, 2.0, 1.0, 1.0, 1.0]
    stopping = Stopping(patience=2)
    assert epochs_of(tmp_path, stopping, val_loss=losses) == 6
    assert stopping.reason == "val_loss has not improved for 2 epochs"
    assert epochs_of(tmp_path, Stopping(patience=3), val_loss=losses) == 10
    assert epochs_of(tmp_path, Stopping(patience=1), val_loss=losses) == 3


@pytest.mark.parametrize(
    ("monitor", "mode", "epochs"),
    [
        ("val_accuracy", "auto", 4),
        ("val_accuracy", "max", 4),
        ("val_accuracy", "min", 2),
        ("my_score", "auto", 5),
        ("my_score", "max", 2),
    ],
)
def test_patience_on_any_metric(tmp_path: Path, monitor: str, mode: Any, epochs: int) -> None:
    """More is better for an accuracy, less for anything else; the mode overrules that."""
    values: dict[str, Any] = {
        "val_accuracy": [0.1, 0.2, 0.3, 0.3, 0.3],
        "my_score": [0.5, 0.4, 0.3, 0.2, 0.2],
    }
    stopping = Stopping(patience=1, monitor=monitor, mode=mode)
    assert epochs_of(tmp_path, stopping, 5, **values) == epochs


def test_an_improvement_has_to_be_large_enough(tmp_path: Path) -> None:
    """Each step below min_improvement counts as none, but the best it is compared with stays."""
    creeping = [4.0, 3.75, 3.5, 3.25, 3.0, 2.75]
    assert epochs_of(tmp_path, Stopping(2, min_improvement=0.5), 6, val_loss=creeping) == 3
    assert epochs_of(tmp_path, Stopping(3, min_improvement=0.5), 6, val_loss=creeping) == 6


def test_nan_improves_nothing(tmp_path: Path) -> None:
    """A metric that is nan uses up the patience."""
    assert epochs_of(tmp_path, Stopping(patience=2), val_loss=[1.0] + [NAN] * 9) == 3


def test_target_accuracy(tmp_path: Path) -> None:
    """The run ends with the first epoch that reaches the target."""
    accuracies = [0.5, 0.875, 0.9, 0.95, 0.99]
    stopping = Stopping(target_accuracy=0.9)
    assert epochs_of(tmp_path, stopping, 5, val_accuracy=accuracies) == 3
    assert stopping.reason == "val_accuracy 0.9000 has reached 0.9"
    assert epochs_of(tmp_path, Stopping(target_accuracy=1.0), 5, val_accuracy=accuracies) == 5


def test_unchanged_loss(tmp_path: Path) -> None:
    """The run ends when the epoch's training loss differs too little from the last one's, up or
    down; the first epoch has nothing to differ from."""
    losses = [4.0, 2.0, 3.0, 2.9375, 1.0]
    stopping = Stopping(unchanged_loss=0.1)
    assert epochs_of(tmp_path, stopping, 5, train_loss=losses) == 4
    assert stopping.reason == "train_loss changed by 6.2e-02"
    assert epochs_of(tmp_path, Stopping(unchanged_loss=0.0625), 5, train_loss=losses) == 5


def test_the_first_condition_met_ends_the_run(tmp_path: Path) -> None:
    """Several conditions are looked at side by side, and each goes on counting."""
    stopping = Stopping(patience=3, target_accuracy=0.9, unchanged_loss=0.5)
    metrics: dict[str, Any] = {
        "val_loss": [1.0] * 5,
        "val_accuracy": [0.1] * 4 + [1.0],
        "train_loss": [9.0, 8.0, 7.0, 6.0, 5.0],
    }
    assert epochs_of(tmp_path, stopping, 5, **metrics) == 4
    metrics["train_loss"][2] = 8.25
    assert epochs_of(tmp_path, Stopping(3, unchanged_loss=0.5), 5, **metrics) == 3


@pytest.mark.parametrize(
    ("stopping", "missing"),
    [
        (Stopping(patience=5, monitor="val_los"), "val_los"),
        (Stopping(target_accuracy=0.9), "val_accuracy"),
    ],
    ids=["patience", "target"],
)
def test_an_unknown_metric_is_an_error(tmp_path: Path, stopping: Stopping, missing: str) -> None:
    """At the end of the first epoch, with the names that are logged."""
    message = f"expected a logged metric, got '{missing}'; logged are train_loss, val_loss$"
    with pytest.raises(ValueError, match=message):
        epochs_of(tmp_path, stopping, val_loss=[1.0] * 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 0}, "patience: expected at least 1 epoch, got 0"),
        ({"target_accuracy": 98.0}, r"expected a share in 0 < target <= 1, got 98\.0"),
        ({"target_accuracy": 0.0}, r"expected a share in 0 < target <= 1, got 0\.0"),
    ],
    ids=str,
)
def test_conditions_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    """Percent for a share, or no patience at all, are refused at once."""
    with pytest.raises(ValueError, match=message):
        Stopping(**settings)


def test_epochs_without_validation_do_not_count(tmp_path: Path) -> None:
    """Validated every other epoch, patience counts validations, and a metric that comes with the
    second epoch is no unknown one."""
    losses = [9.0, 2.0, 9.0, 1.0, 9.0, 1.0, 9.0, 0.5, 9.0, 0.25]
    assert epochs_of(tmp_path, Stopping(patience=2), val_loss=losses, every_n=2) == 10
    assert epochs_of(tmp_path, Stopping(patience=1), val_loss=losses, every_n=2) == 6
    stopping = Stopping(target_accuracy=0.5)
    assert epochs_of(tmp_path, stopping, val_accuracy=[0.0, 0.0, 0.75, 0.5] * 2, every_n=2) == 4


def test_the_count_survives_a_resume(tmp_path: Path) -> None:
    """A run cut and resumed stops after the epoch in which the uncut run stops."""
    metrics: dict[str, Any] = {"train_loss": [8.0] * 10, "val_loss": [1.0] + [2.0] * 9}
    assert epochs_of(tmp_path, Stopping(patience=4), **metrics) == 5
    checkpoint = tmp_path / "cut.ckpt"
    trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=[Stopping(patience=4)])
    trainer.fit(Scripted(metrics), one_batch(), one_batch())
    trainer.save_checkpoint(checkpoint)
    stopping = Stopping(patience=4)
    trainer = quiet_trainer(tmp_path, max_epochs=10, callbacks=[stopping])
    trainer.fit(Scripted(metrics), one_batch(), one_batch(), ckpt_path=checkpoint)
    assert trainer.current_epoch == 5
    assert (stopping.best, stopping.waited, stopping.last_loss) == (-1.0, 4, float("inf"))


def test_a_run_that_was_stopped_is_finished(tmp_path: Path) -> None:
    """Resumed with the same conditions it says why it ended; with others it goes on."""
    metrics: dict[str, Any] = {"train_loss": [8.0] * 10, "val_loss": [1.0] + [2.0] * 9}

    def train(patience: int, ckpt_path: Path | None = None) -> pl.Trainer:
        trainer = quiet_trainer(tmp_path, max_epochs=10, callbacks=[Stopping(patience=patience)])
        trainer.fit(Scripted(metrics), one_batch(), one_batch(), ckpt_path=ckpt_path)
        return trainer

    path = tmp_path / "stopped.ckpt"
    train(2).save_checkpoint(path)
    with pytest.raises(ValueError, match=r"finished run: val_loss has not improved.*--stop\."):
        train(2, path)
    assert train(4, path).current_epoch == 5


def test_the_last_loss_survives_a_resume(tmp_path: Path) -> None:
    """The first epoch of a resumed run is compared with the last one before the cut."""
    metrics = {"train_loss": [4.0, 2.0, 2.0, 1.0, 1.0, 1.0]}
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[Stopping(unchanged_loss=0.5)])
    trainer.fit(Scripted(metrics), one_batch(), one_batch())
    trainer.save_checkpoint(tmp_path / "cut.ckpt")
    trainer = quiet_trainer(tmp_path, max_epochs=6, callbacks=[Stopping(unchanged_loss=0.5)])
    trainer.fit(Scripted(metrics), one_batch(), one_batch(), ckpt_path=tmp_path / "cut.ckpt")
    assert trainer.current_epoch == 3
