from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau, StepLR

from tests.lightning.lightning_runs import (
    Recorder,
    Scripted,
    blobs,
    ignore_lightnings_own,
    one_batch,
    quiet_trainer,
)
from torchmlp._compat.lightning import pl
from torchmlp.data import Batches
from torchmlp.lightning.schedules import OneCycle, for_lightning

from pytorch_lightning.cli import (  # isort: skip  after torchvision's repair
    ReduceLROnPlateau as PlateauOfMetric,
)

pytestmark = ignore_lightnings_own


def sgd(lr: float = 0.3) -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)


def rates_of(scheduler: Any, optimizer: Optimizer, steps: int) -> list[float]:
    """The learning rate of each of the next steps."""
    rates = []
    for step in range(steps):
        if step:
            optimizer.step()
            scheduler.step()
        rates.append(float(optimizer.param_groups[0]["lr"]))
    return rates


def torchs_rates(peak: float, warmup: float, steps: int) -> list[float]:
    """torch's OneCycleLR, told to reach the peak where OneCycle does.

    OneCycle rises over the share `warmup` of the intervals between steps; torch's pct_start is
    a share of the steps, and its peak stands at pct_start · steps − 1.
    """
    optimizer = sgd()
    share = (warmup * (steps - 1) + 1) / steps
    scheduler = OneCycleLR(
        optimizer, peak, total_steps=steps, pct_start=share, cycle_momentum=False
    )
    return rates_of(scheduler, optimizer, steps)


@pytest.mark.parametrize("warmup", [0.05, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("steps", [2, 3, 10, 101, 937])
def test_is_torchs_one_cycle(steps: int, warmup: float) -> None:
    """Over a whole run each rate is that of torch's OneCycleLR; the momentum is left alone."""
    optimizer = sgd(0.3)
    rates = rates_of(OneCycle(optimizer, warmup, total_steps=steps), optimizer, steps)
    assert rates == pytest.approx(torchs_rates(0.3, warmup, steps), rel=1e-12, abs=1e-12)
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_ends_low_and_stays_there() -> None:
    """From 1/25 of the peak to the peak to 1/250000; a step too many does not climb again."""
    optimizer = sgd(0.3)
    rates = rates_of(OneCycle(optimizer, 0.5, total_steps=21), optimizer, 25)
    assert rates[0] == pytest.approx(0.3 / 25)
    assert rates[10] == pytest.approx(0.3)
    assert rates[20:] == pytest.approx([0.3 / 25e4] * 5)


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 30.0])
def test_warmup_is_a_share(warmup: float) -> None:
    """Percent instead of a share is refused."""
    with pytest.raises(ValueError, match=f"OneCycle: expected 0 <= warmup < 1, got {warmup}"):
        OneCycle(sgd(), warmup)


class Trained(pl.LightningModule):
    """A linear layer, its optimizer and the scheduler it was given."""

    def __init__(self, make: Any, lr: float = 0.3) -> None:
        super().__init__()
        self.layer, self.make, self.lr = torch.nn.Linear(6, 3), make, lr

    def training_step(self, batch: Any) -> torch.Tensor:
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=self.lr)
        return for_lightning(self, optimizer, self.make(optimizer))


def trained_rates(folder: Path, make: Any, *, lr: float = 0.3, **settings: Any) -> list[float]:
    """The rates that a run of ten batches per epoch descends at."""
    recorder = Recorder()
    trainer = quiet_trainer(folder, callbacks=[recorder], **settings)
    trainer.fit(Trained(make, lr), Batches(*blobs(60), 6))
    return recorder.rates


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_epochs": 3}, 30),
        ({"max_epochs": -1, "max_steps": 17}, 17),
        ({"max_epochs": 3, "limit_train_batches": 4}, 12),
    ],
    ids=["epochs", "steps", "limited"],
)
def test_the_trainer_tells_the_length(tmp_path: Path, settings: dict[str, Any], steps: int) -> None:
    """Whatever ends the run, the cycle is as long as the run is."""
    rates = trained_rates(tmp_path, OneCycle, **settings)
    assert rates == pytest.approx(torchs_rates(0.3, 0.3, steps), rel=1e-12)


@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_a_run_begins_where_the_cycle_does(tmp_path: Path, warmup: float) -> None:
    """The first step's rate is already that of a cycle whose length is known: without a warmup,
    the peak."""
    rates = trained_rates(tmp_path, lambda optimizer: OneCycle(optimizer, warmup), max_epochs=1)
    optimizer = sgd(0.3)
    told = OneCycle(optimizer, warmup, total_steps=10)
    assert rates == pytest.approx(rates_of(told, optimizer, 10), rel=1e-12)


def test_a_resumed_run_has_its_own_length(tmp_path: Path) -> None:
    """Cut after one epoch of three and resumed, the rates are those of an uncut run; resumed with
    six epochs, they go on as in a run of six."""
    whole = trained_rates(tmp_path, OneCycle, max_epochs=3)
    checkpoint = tmp_path / "first.ckpt"
    # Stopped from outside: the run was meant to have three epochs.
    stopper = pl.callbacks.LambdaCallback(
        on_train_epoch_end=lambda trainer, _: setattr(trainer, "should_stop", True)
    )
    trainer = quiet_trainer(tmp_path, callbacks=[stopper], max_epochs=3)
    trainer.fit(Trained(OneCycle), Batches(*blobs(60), 6))
    assert trainer.global_step == 10
    trainer.save_checkpoint(checkpoint)
    for epochs in (3, 6):
        recorder = Recorder()
        trainer = quiet_trainer(tmp_path, callbacks=[recorder], max_epochs=epochs)
        trainer.fit(Trained(OneCycle), Batches(*blobs(60), 6), ckpt_path=checkpoint)
        uncut = whole if epochs == 3 else trained_rates(tmp_path, OneCycle, max_epochs=6)
        # The rate of the first resumed step was set by the last step before the cut.
        assert recorder.rates[1:] == pytest.approx(uncut[11:], rel=1e-12)
        assert recorder.rates[0] == pytest.approx(whole[10], rel=1e-12)


def test_a_run_without_an_end_has_no_cycle(tmp_path: Path) -> None:
    """An endless run names what would end it, before the first step."""
    with pytest.raises(ValueError, match=r"a run with an end, got max_epochs=-1 and max_steps=-1"):
        trained_rates(tmp_path, OneCycle, max_epochs=-1)


def test_each_scheduler_steps_as_often_as_it_means_to() -> None:
    """The cyclic ones per batch, the others per epoch; the plateau looks at the validation loss."""
    module, optimizer = Scripted({}), sgd()

    def entry(scheduler: Any) -> dict[str, Any]:
        handed: dict[str, Any] = for_lightning(module, optimizer, scheduler)
        assert handed["optimizer"] is optimizer
        assert handed["lr_scheduler"].pop("scheduler") is scheduler
        rest: dict[str, Any] = handed["lr_scheduler"]
        return rest

    assert entry(OneCycle(optimizer, total_steps=5)) == {"interval": "step"}
    assert entry(OneCycleLR(optimizer, 0.1, total_steps=5)) == {"interval": "step"}
    assert entry(CyclicLR(optimizer, 0.1, 0.2)) == {"interval": "step"}
    assert entry(StepLR(optimizer, 2)) == {"interval": "epoch"}
    plateau = {"interval": "epoch", "monitor": "val_loss"}
    assert entry(ReduceLROnPlateau(optimizer)) == plateau
    assert entry(PlateauOfMetric(optimizer, monitor="train_loss"))["monitor"] == "train_loss"
    assert for_lightning(module, optimizer, None) is optimizer


def test_a_step_schedule_falls_once_per_epoch(tmp_path: Path) -> None:
    """StepLR's rates are one per epoch of ten batches."""
    rates = trained_rates(tmp_path, lambda optimizer: StepLR(optimizer, 1, 0.5), max_epochs=3)
    assert rates == [0.3] * 10 + [0.15] * 10 + [0.075] * 10


def test_a_plateau_lowers_the_rate(tmp_path: Path) -> None:
    """While the metric stands still each epoch lowers the rate."""
    module = Scripted({"train_loss": [3.0, 3.0, 3.0, 3.0]})
    optimizer = SGD(module.parameters(), lr=1e-3)
    scheduler = PlateauOfMetric(optimizer, monitor="train_loss", patience=0, factor=0.1)
    module.configure_optimizers = lambda: for_lightning(module, optimizer, scheduler)  # type: ignore[method-assign]
    recorder = Recorder()
    quiet_trainer(tmp_path, callbacks=[recorder], max_epochs=4).fit(
        module, one_batch(), one_batch()
    )
    assert recorder.rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])


def test_the_state_holds_numbers_only() -> None:
    """A checkpoint with it can be loaded where code is not to be trusted, and says no length."""
    state = OneCycle(sgd(), total_steps=120).state_dict()
    assert "total_steps" not in state
    numbers = (int, float, bool, list, type(None))
    assert all(isinstance(value, numbers) for value in state.values())
    assert state["lr_lambdas"] == [None]
