import csv
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

from tests.lightning.lightning_runs import ignore_lightnings_own, quiet_trainer
from torchmlp import Classifier
from torchmlp._compat.lightning import pl
from torchmlp.data import Batches
from torchmlp.lightning.callbacks.terminate_on_nonfinite import (
    NonFiniteLossError,
    TerminateOnNonFinite,
)
from torchmlp.lightning.datamodule import ImageDataModule, TrainingBatches
from torchmlp.lightning.eligibility import reason_for_autograd
from torchmlp.lightning.fast_loop import _ForwardExceptions

pytestmark = [
    ignore_lightnings_own,
    # What Lightning says of short runs, of runs without validation, of a checkpoint's other folder.
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed from"),
]

BATCHES = 30  # of an epoch
Schedule = Callable[[torch.optim.Optimizer], Any]


def images(count: int = 4 * BATCHES - 1) -> tuple[Tensor, Tensor]:
    """Images of 3 x 5 pixels, and labels; the last batch of four is a short one."""
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randint(256, (count, 3, 5), dtype=torch.uint8, generator=generator)
    return pixels, torch.arange(count) % 4


class Endless:
    """A loader of so many batches that does not tell how many."""

    def __init__(self, batches: int = BATCHES) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        x, labels = images(4 * self.batches)
        for start in range(0, len(x), 4):
            yield x[start : start + 4], labels[start : start + 4]


class Rates(pl.Callback):
    """The learning rates that schedulers have set, seen without watching a batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        del stage
        step = pl_module.lr_scheduler_step

        def recorded(scheduler: Any, metric: Any) -> None:
            step(scheduler, metric)
            self.seen.append(float(trainer.optimizers[0].param_groups[0]["lr"]))

        pl_module.lr_scheduler_step = recorded  # type: ignore[method-assign]


class Run(NamedTuple):
    """What a run leaves behind."""

    model: Classifier
    trainer: pl.Trainer
    rates: list[float]
    folder: Path
    error: BaseException | None

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows of the CSV log, columns and steps included."""
        (path,) = self.folder.rglob("metrics.csv")
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*.ckpt"))


def train(
    folder: Path,
    engine: str,
    *,
    schedule: Schedule | None = None,
    optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
    loader: Any = None,
    model: dict[str, Any] | None = None,
    callbacks: Callable[[], list[pl.Callback]] = list,
    ckpt_path: Any = None,
    **settings: Any,
) -> Run:
    """A run from the same weights, over the same batches; an exception is kept."""
    torch.manual_seed(3)
    settings_of_model: dict[str, Any] = {"in_features": 15, "hidden": [8], "out_features": 4}
    classifier = Classifier(**{**settings_of_model, "engine": engine, **(model or {})})
    if optimizer or schedule:
        made = (optimizer or momentum)(classifier.parameters())
        returned = {"optimizer": made, "lr_scheduler": schedule(made)} if schedule else made
        classifier.configure_optimizers = lambda: returned  # type: ignore[method-assign]
    rates, place = Rates(), folder / engine
    trainer = quiet_trainer(
        place,
        **{
            "max_epochs": 2,
            "precision": "64-true",
            "callbacks": [*callbacks(), rates],
            "num_sanity_val_steps": 0,
            **settings,
        },
    )
    torch.manual_seed(4)
    error: BaseException | None = None
    try:
        trainer.fit(
            classifier,
            Batches(*images(), 4, shuffle=True, seed=1) if loader is None else loader(),
            Batches(*images(), 50),
            ckpt_path=ckpt_path,
        )
    except (Exception, SystemExit) as raised:  # noqa: BLE001  compared by the tests
        error = raised
    return Run(classifier, trainer, rates.seen, place, error)


def momentum(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)


def assert_close(one: Any, other: Any, tolerance: float, where: str = "") -> None:
    """Nested dicts and lists: the same keys, numbers and tensors to `tolerance`, the rest equal."""
    if isinstance(other, dict):
        assert one.keys() == other.keys(), where
        for key, value in other.items():
            assert_close(one[key], value, tolerance, f"{where}.{key}")
    elif isinstance(other, (list, tuple)):
        assert len(one) == len(other), where
        for k, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_close(mine, theirs, tolerance, f"{where}[{k}]")
    elif isinstance(other, (float, Tensor)):
        assert torch.as_tensor(one).double().numpy() == pytest.approx(
            torch.as_tensor(other).double().numpy(), rel=tolerance, abs=tolerance, nan_ok=True
        ), where
    else:
        assert one == other, where


def numbers(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    return [{k: float(v) if v else None for k, v in row.items()} for row in rows]


def assert_same(fused: Run, autograd: Run, tolerance: float = 1e-10) -> None:
    """Weights, counters, metrics, states of optimizer and schedulers, rates and the logged rows."""
    assert fused.error is None
    assert autograd.error is None
    assert autograd.model.trained_by == "autograd (engine=autograd)"
    assert not fused.model.trained_by.startswith("autograd")
    assert_close(dict(fused.model.state_dict()), dict(autograd.model.state_dict()), tolerance)
    mine, theirs = fused.trainer, autograd.trainer
    assert (mine.global_step, mine.current_epoch) == (theirs.global_step, theirs.current_epoch)
    assert mine.fit_loop.state_dict() == theirs.fit_loop.state_dict()
    assert_close(dict(mine.callback_metrics), dict(theirs.callback_metrics), max(tolerance, 1e-6))
    for a, b in zip(mine.optimizers, theirs.optimizers, strict=True):
        assert_close(a.state_dict(), b.state_dict(), tolerance)
    schedulers = zip(mine.lr_scheduler_configs, theirs.lr_scheduler_configs, strict=True)
    for one, other in schedulers:
        assert_close(plain_state(one.scheduler), plain_state(other.scheduler), tolerance)
    assert_close(fused.rates, autograd.rates, tolerance)
    if mine.loggers:
        assert list(fused.rows[0]) == list(autograd.rows[0])
        assert_close(numbers(fused.rows), numbers(autograd.rows), max(tolerance, 1e-6))
    assert fused.files == autograd.files


def plain_state(scheduler: Any) -> dict[str, Any]:
    return {k: v for k, v in scheduler.state_dict().items() if not callable(v)}


def both(tmp_path: Path, engine: str = "auto", **settings: Any) -> tuple[Run, Run]:
    return train(tmp_path, engine, **settings), train(tmp_path, "autograd", **settings)


def logged(tmp_path: Path, engine: str = "auto", **settings: Any) -> tuple[Run, Run]:
    """The two runs, each with a CSV log."""

    def run(name: str) -> Run:
        logger = pl.loggers.CSVLogger(tmp_path / name, name="", version="")
        return train(tmp_path, name, logger=logger, **settings)

    return run(engine), run("autograd")


def ahead(run: Run) -> int:
    """How many batches were trained on without Lightning's own loop."""
    return run.trainer.global_step - lightnings.get(id(run.trainer), 0)


lightnings: dict[int, int] = {}  # by trainer, how many batches its own loop has taken


@pytest.fixture(autouse=True)
def _counts_lightnings_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the batches that take Lightning's own way, so that a test can tell that some do not."""
    loop: Any = pl.loops._TrainingEpochLoop  # type: ignore[attr-defined]
    advance = loop.advance

    def counted(self: Any, data_fetcher: Any) -> None:
        lightnings[id(self.trainer)] = lightnings.get(id(self.trainer), 0) + 1
        advance(self, data_fetcher)

    monkeypatch.setattr(loop, "advance", counted)
    # So that how many go ahead is a matter of the run, not of the machine.
    monkeypatch.setattr("torchmlp.lightning.fast_loop.MAX_BURST_S", 60.0)
    lightnings.clear()


def batchwise(scheduler: Any, **settings: Any) -> dict[str, Any]:
    return {"scheduler": scheduler, "interval": "step", **settings}


SCHEDULES: dict[str, Schedule | None] = {
    "cycle": None,  # the module's own
    "one cycle": lambda o: batchwise(OneCycleLR(o, 0.1, total_steps=2 * BATCHES)),
    "every third batch": lambda o: batchwise(StepLR(o, 1, 0.9), frequency=3),
    "every epoch": lambda o: StepLR(o, 1, 0.5),
    "plateau": lambda o: {"scheduler": ReduceLROnPlateau(o, patience=0), "monitor": "val_loss"},
    "plateau by batch": lambda o: batchwise(
        ReduceLROnPlateau(o, patience=1, factor=0.9), monitor="train_loss_step"
    ),
    "plateau by seven batches": lambda o: batchwise(
        ReduceLROnPlateau(o, patience=0, factor=0.7), monitor="train_loss_step", frequency=7
    ),
}
RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "end in mid-epoch": {"max_steps": 41, "max_epochs": -1},
    "end with an epoch": {"max_steps": 30, "max_epochs": -1},
    "two steps": {"max_steps": 2, "max_epochs": -1},
    "validation by share": {"val_check_interval": 0.25},
    "validation by batches": {"val_check_interval": 7},
    "validation across epochs": {"val_check_interval": 13, "check_val_every_n_epoch": None},
    "validation every second epoch": {"check_val_every_n_epoch": 2, "max_epochs": 3},
    "no validation": {"limit_val_batches": 0},
    "limited": {"limit_train_batches": 11},
    "limited by share": {"limit_train_batches": 0.4},
    "one batch": {"limit_train_batches": 1},
    "float32": {"precision": "32-true"},
    "clipped": {"gradient_clip_val": 0.1},
    "clipped by value": {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    "accumulated": {"accumulate_grad_batches": 4},
    "accumulated and clipped": {
        "accumulate_grad_batches": 7,
        "gradient_clip_val": 0.1,
        "val_check_interval": 9,
        "max_steps": 8,
        "max_epochs": -1,
    },
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_schedules_run_as_with_autograd(tmp_path: Path, schedule: Schedule | None) -> None:
    """Rates by batch, by epoch and by the figures of either: the engine's run is autograd's, in
    weights, counters, metrics, states and every row of the log."""
    assert_same(*logged(tmp_path, schedule=schedule, log_every_n_steps=4))


@pytest.mark.filterwarnings("ignore:When using `Trainer.accumulate_grad_batches != 1.` and overr")
@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_runs_are_those_of_autograd(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Ends, validation and limits, wherever they fall, gradients clipped and added up: the same
    run."""
    tolerance = 1e-5 if settings.get("precision") == "32-true" else 1e-10
    schedule = None if settings.get("max_epochs") != -1 else SCHEDULES["every third batch"]
    fused, autograd = logged(tmp_path, schedule=schedule, **{"log_every_n_steps": 5, **settings})
    assert_same(fused, autograd, tolerance)
    is_long = settings.get("max_steps") != 2 and settings.get("limit_train_batches") != 1
    if is_long and "accumulate_grad_batches" not in settings:  # whose steps are fewer
        assert ahead(fused) > 0


@pytest.mark.parametrize("every", [1, 7, 50, 0])
def test_rows_are_logged_where_autograd_logs_them(tmp_path: Path, every: int) -> None:
    """The same rows at the same steps; and the more seldom they are, the more batches go ahead."""
    fused, autograd = logged(tmp_path, log_every_n_steps=every)
    assert_same(fused, autograd)
    assert ahead(fused) == {1: 0, 7: 50, 50: 57, 0: 58}[every]


def test_however_many_go_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar waits for so long at most: where there is no time at all, no batch goes ahead, and the
    run is the same."""
    monkeypatch.setattr("torchmlp.lightning.fast_loop.MAX_BURST_S", 0.0)
    fused, autograd = logged(tmp_path, log_every_n_steps=7)
    assert_same(fused, autograd)
    assert ahead(fused) == 0


@pytest.mark.parametrize("model", [
    {"loss": "mse"},
    {"loss": "bce", "activation": "gelu"},
    {"dropout": 0.3, "input_dropout": 0.1},
    {"hidden": [], "bias": False},
    {"hidden": [9, 8, 7], "activation": "tanh", "output_activation": "sigmoid"},
], ids=str)  # fmt: skip
def test_networks_and_losses(tmp_path: Path, model: dict[str, Any]) -> None:
    """Every setting of the network reaches the engine."""
    assert_same(*logged(tmp_path, model=model))


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "momentum": momentum,
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.001),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers(tmp_path: Path, optimizer: Any) -> None:
    """Other optimizers step themselves, ahead of Lightning's batches too."""
    fused, autograd = both(tmp_path, optimizer=optimizer)
    assert_same(fused, autograd, 1e-9)
    assert ahead(fused) == 57


@pytest.mark.parametrize("engine", ["auto", "fused"])
def test_who_trains_is_said(tmp_path: Path, engine: str) -> None:
    """`trained_by` names the way of the step, with either setting that allows it."""
    run = train(tmp_path, engine)
    assert run.error is None
    assert run.model.trained_by.startswith(("the engine: C++", "the engine: torch's operators"))
    assert run.model.engine_adapter is None


def test_a_loader_without_length(tmp_path: Path) -> None:
    """Where nobody knows which batch is the last, validation, schedules and figures of an epoch's
    end are there all the same."""
    fused, autograd = logged(tmp_path, loader=Endless, schedule=SCHEDULES["every epoch"])
    assert_same(fused, autograd)
    assert {"val_loss", "train_loss"} <= fused.trainer.callback_metrics.keys()


@pytest.mark.parametrize("limit", [20, 50])
def test_a_limited_loader_without_length(tmp_path: Path, limit: int) -> None:
    """A limit that is reached, or is not, makes no difference."""
    assert_same(*logged(tmp_path, loader=Endless, limit_train_batches=limit))


def checkpoints() -> list[pl.Callback]:
    return [
        pl.callbacks.ModelCheckpoint(
            every_n_train_steps=7, save_top_k=-1, filename="{step}-{train_loss_step:.6f}"
        )
    ]


def test_checkpoints_by_steps(tmp_path: Path) -> None:
    """Files are written after the same steps, and hold the same weights."""
    fused, autograd = both(tmp_path, callbacks=checkpoints, enable_checkpointing=True)
    assert_same(fused, autograd)
    assert len(fused.files) == 8
    for name in fused.files:
        mine, theirs = (
            torch.load(run.folder / name, weights_only=True) for run in (fused, autograd)
        )
        assert_close(mine["state_dict"], theirs["state_dict"], 1e-10)
        assert mine["loops"] == theirs["loops"]
        assert mine["global_step"] == theirs["global_step"]


def test_early_stopping(tmp_path: Path) -> None:
    """The run stops after the same epoch."""

    def stopping() -> list[pl.Callback]:
        return [pl.callbacks.EarlyStopping("val_loss", patience=0, min_delta=0.05)]

    fused, autograd = both(tmp_path, callbacks=stopping, max_epochs=20)
    assert_same(fused, autograd)
    assert fused.trainer.current_epoch < 20


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_the_rate_monitor_logs_the_same(tmp_path: Path, interval: Any) -> None:
    """LearningRateMonitor sees the batches of which it writes, and does not slow the others."""
    fused, autograd = logged(
        tmp_path,
        callbacks=lambda: [pl.callbacks.LearningRateMonitor(interval)],
        schedule=SCHEDULES["one cycle"],
        log_every_n_steps=7,
    )
    assert_same(fused, autograd)
    assert any("lr-SGD" in column for column in fused.rows[0])
    assert ahead(fused) > 30


class Bar(pl.callbacks.TQDMProgressBar):
    """What the progress bar was told."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=0)
        self.seen: list[tuple[int, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self.seen.append((trainer.fit_loop.epoch_loop.batch_idx + 1, self.total_train_batches))


def test_the_progress_bar_ends_at_the_right_totals(tmp_path: Path) -> None:
    """At an epoch's end the bar has come to its last batch, and no batch waits for the bar."""
    bar = Bar()
    run = train(tmp_path, "auto", callbacks=lambda: [bar], enable_progress_bar=True)
    assert run.error is None
    assert bar.seen == [(BATCHES, BATCHES)] * 2
    assert ahead(run) > 50


class Watcher(pl.Callback):
    """Writes down the batches that it sees."""

    def __init__(self) -> None:
        self.started: list[tuple[int, int, Tensor]] = []
        self.ended: list[tuple[int, int, float]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        del pl_module
        self.started.append((batch_idx, trainer.global_step, batch[1]))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        del pl_module, batch
        self.ended.append((batch_idx, trainer.global_step, float(outputs["loss"])))


def test_a_callback_that_watches_sees_every_batch(tmp_path: Path) -> None:
    """With its index, the step before and after it, and its loss."""
    watchers = [Watcher(), Watcher()]
    mine = train(tmp_path, "auto", callbacks=lambda: [watchers[0]])
    theirs = train(tmp_path, "autograd", callbacks=lambda: [watchers[1]])
    assert_same(mine, theirs)
    assert [index for index, *_ in watchers[0].started] == [*range(BATCHES)] * 2
    assert [step for _, step, _ in watchers[0].started] == [*range(2 * BATCHES)]
    assert_close(watchers[0].started, watchers[1].started, 0)
    assert_close(watchers[0].ended, watchers[1].ended, 1e-10)


class WatchingCheckpoint(pl.callbacks.ModelCheckpoint):
    seen = 0

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.seen += 1
        super().on_train_batch_end(*args, **kwargs)


class WatchingBar(pl.callbacks.TQDMProgressBar):
    seen = 0

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen += 1
        super().on_train_batch_start(*args, **kwargs)


class WatchingTimer(pl.callbacks.Timer):
    seen = 0

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.seen += 1
        super().on_train_batch_end(*args, **kwargs)


class WatchingZeroGrad(pl.Callback):
    seen = 0

    def on_before_zero_grad(self, *args: Any) -> None:
        del args
        self.seen += 1


class WatchingLambda(pl.callbacks.LambdaCallback):
    """Its hook is no method of a class, but the object's."""

    seen = 0

    def __init__(self) -> None:
        super().__init__(on_train_batch_end=self._look)

    def _look(self, *args: Any) -> None:
        del args
        self.seen += 1


@pytest.mark.parametrize(
    "kind",
    [WatchingCheckpoint, WatchingBar, WatchingTimer, WatchingZeroGrad, WatchingLambda],
    ids=lambda kind: kind.__name__,
)
def test_kinds_of_callbacks_that_watch(tmp_path: Path, kind: type[Any]) -> None:
    """A hook of somebody's is called for every batch, whatever it is a hook of."""
    callback = kind()
    run = train(
        tmp_path, "auto", callbacks=lambda: [callback], enable_checkpointing=True,
        enable_progress_bar=True,
    )  # fmt: skip
    assert run.error is None
    assert callback.seen == 2 * BATCHES
    assert not run.model.trained_by.startswith("autograd")


def test_should_stop_is_seen_at_once(tmp_path: Path) -> None:
    """A callback that stops the run at a batch stops it there."""

    class Stop(Watcher):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
            super().on_train_batch_end(trainer, *args, **kwargs)
            trainer.should_stop = trainer.global_step >= 13

    fused, autograd = both(tmp_path, callbacks=lambda: [Stop()])
    assert_same(fused, autograd)
    assert fused.trainer.global_step == 13


def test_max_time_ends_the_run(tmp_path: Path) -> None:
    """A run that would not end is ended by the clock, its counters in agreement."""
    run = train(tmp_path, "auto", max_epochs=10**6, max_time={"seconds": 1},
                schedule=SCHEDULES["every epoch"])  # fmt: skip
    assert run.error is None
    progress = run.trainer.fit_loop.epoch_loop.batch_progress.total
    assert run.trainer.global_step == progress.completed == progress.ready > 2 * BATCHES


def interrupting(at: int, error: BaseException) -> Callable[[], Any]:
    """A loader that raises when asked for its batch number `at`."""

    class Cut(Batches):
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for number, batch in enumerate(super().__iter__()):
                if number == at:
                    raise error
                yield batch

    return lambda: Cut(*images(), 4)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("disk gone")], ids=["Ctrl-C", "error"]
)
@pytest.mark.parametrize("engine", ["auto", "autograd"])
def test_a_run_that_is_cut(tmp_path: Path, engine: str, error: BaseException) -> None:
    """Counters agree with the batches that were trained on; Lightning's loop and the engine's
    buffers are given back, and the module can be trained again by either way."""
    run = train(tmp_path, engine, loader=interrupting(17, error))
    assert isinstance(run.error, SystemExit | RuntimeError)
    loop = run.trainer.fit_loop.epoch_loop
    assert run.trainer.global_step == loop.batch_progress.total.completed == 17
    assert loop._batches_that_stepped == 17
    assert loop.batch_progress.total.ready == 17
    reference = train(tmp_path / "reference", "autograd", loader=lambda: Batches(*images(), 4),
                      max_steps=17, schedule=lambda o: batchwise(
                          OneCycleLR(o, 0.1, total_steps=99)))  # fmt: skip
    assert reference.trainer.global_step == 17
    assert_nothing_is_left(run)
    again = quiet_trainer(tmp_path, max_epochs=1, detect_anomaly=True, precision="64-true")
    again.fit(run.model, Batches(*images(), 4))
    assert run.model.trained_by == (
        "autograd (engine=autograd)"
        if engine == "autograd"
        else "autograd (detect_anomaly looks at autograd)"
    )


def assert_nothing_is_left(run: Run) -> None:
    loop = run.trainer.fit_loop.epoch_loop
    assert "advance" not in vars(loop)
    assert run.model.engine_adapter is None
    assert run.model._fast_loop is None
    callbacks: list[pl.Callback] = run.trainer.callbacks  # type: ignore[attr-defined]
    assert not any(isinstance(callback, _ForwardExceptions) for callback in callbacks)


class RaisesIn(pl.Callback):
    """Raises in the hook of that name."""

    def __init__(self, name: str) -> None:
        def raises(*_: Any) -> None:
            raise RuntimeError("planted")

        setattr(self, name, raises)


@pytest.mark.parametrize(
    "hook", ["on_train_epoch_end", "on_validation_start", "on_train_batch_end", "on_train_end"]
)
def test_an_exception_anywhere_leaves_nothing_behind(tmp_path: Path, hook: str) -> None:
    """Wherever a run breaks off, Lightning's loop is its own again."""
    run = train(tmp_path, "auto", callbacks=lambda: [RaisesIn(hook)])
    assert str(run.error) == "planted"
    assert_nothing_is_left(run)


def test_a_whole_run_leaves_nothing_behind(tmp_path: Path) -> None:
    """After fit the loop is Lightning's own again, and the same trainer trains on."""
    run = train(tmp_path, "auto")
    assert_nothing_is_left(run)
    run.trainer.fit_loop.max_epochs = 3
    run.trainer.fit(run.model, Batches(*images(), 4))
    assert run.trainer.global_step == 3 * BATCHES
    assert_nothing_is_left(run)


def test_a_sick_loss_stops_at_its_step(tmp_path: Path) -> None:
    """Batches taken ahead are looked at too: the step is named at which the loss was nan."""

    def sick() -> Batches:
        x, labels = images()
        loader = Batches((x.double() / 255).flatten(1), labels, 4)
        loader.inputs[4 * 17 + 1, 3] = math.nan
        return loader

    runs = both(tmp_path, loader=sick, callbacks=lambda: [TerminateOnNonFinite()])
    for run in runs:
        assert isinstance(run.error, NonFiniteLossError)
        assert "at step 18 (epoch 0): the batch holds values that are not finite" in str(run.error)
        assert run.trainer.global_step == 18
        assert run.trainer.fit_loop.epoch_loop.batch_progress.total.ready == 18
    assert ahead(runs[0]) > 10


def test_a_wrong_label_names_itself(tmp_path: Path) -> None:
    """Ahead of Lightning's batches too, and the weights are those before it."""

    def wrong() -> Batches:
        loader = Batches(*images(), 4)
        loader.targets[4 * 17] = 9
        return loader

    fused, autograd = both(tmp_path, loader=wrong)
    for run in (fused, autograd):
        assert "label 9 is outside the 4 classes" in str(run.error)
        assert run.trainer.global_step == 17
    assert_close(dict(fused.model.state_dict()), dict(autograd.model.state_dict()), 1e-10)
    assert_nothing_is_left(fused)


def resumable(trainer_of: list[pl.Trainer]) -> Callable[[], TrainingBatches]:
    """Training batches whose order and place are the trainer's, as ImageDataModule makes them."""

    def make() -> TrainingBatches:
        loader = TrainingBatches(*images(), 4, shuffle=True, seed=1)
        loader.trainer = trainer_of[0] if trainer_of else None
        return loader

    return make


@pytest.mark.parametrize("step", [7, 28, 35, 56])
@pytest.mark.parametrize("engines", [("auto", "auto"), ("auto", "autograd"), ("autograd", "auto")],
                         ids=" then ".join)  # fmt: skip
def test_a_run_resumed_in_mid_epoch(tmp_path: Path, engines: tuple[str, str], step: int) -> None:
    """From any checkpoint of the first part, whoever wrote it, the second ends where an
    uninterrupted run does, checkpoints and counters included."""

    class Hands(pl.Callback):
        """Gives the loader its trainer, as a data module would."""

        def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
            del pl_module, stage
            loader = trainer.fit_loop._data_source.instance
            assert isinstance(loader, TrainingBatches)
            loader.trainer = trainer

    def run(folder: Path, engine: str, ckpt_path: Path | None = None) -> Run:
        return train(
            folder,
            engine,
            loader=resumable([]),
            callbacks=lambda: [Hands(), *checkpoints()],
            enable_checkpointing=True,
            ckpt_path=ckpt_path,
            precision="32-true",  # Lightning rounds a checkpoint of 64-true to float32
        )

    first, second = engines
    tolerance = 0 if first == second else 1e-5
    whole = run(tmp_path / "whole", first)
    assert whole.error is None
    (path,) = whole.folder.rglob(f"step={step}-*.ckpt")
    rest = run(tmp_path / "rest", second, path)
    assert rest.error is None
    assert rest.trainer.global_step == 2 * BATCHES
    assert_close(dict(rest.model.state_dict()), dict(whole.model.state_dict()), tolerance)
    later = [name for name in whole.files if int(Path(name).name.split("-")[0][5:]) > step]
    steps = [[Path(n).name.split("-")[0] for n in names] for names in (rest.files, later)]
    assert steps[0] == steps[1]
    assert rest.trainer.fit_loop.state_dict() == whole.trainer.fit_loop.state_dict()
    assert_close(rest.rates, whole.rates[step:], 1e-10)


@pytest.mark.slow
def test_image_data_resume_in_mid_epoch(tmp_path: Path) -> None:
    """With the package's own data module: the same weights, interrupted or not."""

    def run(folder: Path, engine: str, ckpt_path: Path | None = None) -> Run:
        torch.manual_seed(3)
        model = Classifier(hidden=[16], engine=engine)  # type: ignore[arg-type]
        trainer = quiet_trainer(
            folder, max_epochs=2, enable_checkpointing=True,
            callbacks=checkpoints(), log_every_n_steps=11,
        )  # fmt: skip
        data = ImageDataModule(source="embedded", batch_size=256)
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)
        return Run(model, trainer, [], folder, None)

    whole = run(tmp_path / "whole", "auto")
    (path,) = whole.folder.rglob("step=14-*.ckpt")
    for engine, tolerance in (("auto", 0.0), ("autograd", 1e-5)):
        rest = run(tmp_path / engine, engine, path)
        assert rest.trainer.global_step == whole.trainer.global_step
        assert_close(dict(rest.model.state_dict()), dict(whole.model.state_dict()), tolerance)


class OwnForward(Classifier):
    def forward(self, images: Tensor) -> Tensor:
        return 2 * super().forward(images)


class OwnStep(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return 2 * super().training_step(batch)


class SeesGradients(pl.Callback):
    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer
        self.norms += [float(p.grad.norm()) for p in pl_module.parameters() if p.grad is not None]


def with_hook(model: Classifier) -> None:
    model.mlp.layers[0].register_forward_hook(lambda *_: None)


def with_parameter(model: Classifier) -> None:
    model.temperature = torch.nn.Parameter(torch.ones(()))


def with_step_of_its_own(model: Classifier) -> None:
    step = model.training_step
    model.training_step = lambda batch: 2 * step(batch)  # type: ignore[method-assign]


NEEDS_AUTOGRAD: dict[str, tuple[dict[str, Any], Any, str]] = {
    "anomalies": ({"detect_anomaly": True}, None, "detect_anomaly looks at autograd"),
    "gradients seen": (
        {"callbacks": [SeesGradients()]}, None, "SeesGradients.on_after_backward is its own",
    ),
    "accumulation later": (
        {"callbacks": [pl.callbacks.GradientAccumulationScheduler({1: 4})]},
        None,
        "GradientAccumulationScheduler changes how many gradients are added up",
    ),
    "gradients seen by a function": (
        {"callbacks": [pl.callbacks.LambdaCallback(on_after_backward=lambda *_: None)]},
        None,
        "LambdaCallback.on_after_backward is its own",
    ),
    "forward": ({}, OwnForward, "OwnForward.forward is its own"),
    "training_step": ({}, OwnStep, "OwnStep.training_step is its own"),
    "training_step of one object": (
        {}, with_step_of_its_own, "Classifier.training_step is its own",
    ),
    "hook": ({}, with_hook, "the model has hooks"),
    "parameter": ({}, with_parameter, "the module has parameters beside its network's"),
}  # fmt: skip


def made(kind: Any, engine: str) -> Classifier:
    torch.manual_seed(3)
    settings: Any = {"in_features": 15, "hidden": [8], "out_features": 4, "engine": engine}
    if isinstance(kind, type):
        model: Classifier = kind(**settings)
        return model
    model = Classifier(**settings)
    if kind is not None:
        kind(model)
    return model


@pytest.mark.filterwarnings("ignore:When using `Trainer.accumulate_grad_batches != 1.` and overr")
@pytest.mark.parametrize("case", NEEDS_AUTOGRAD.values(), ids=NEEDS_AUTOGRAD)
def test_what_needs_autograd_is_done_by_autograd(
    tmp_path: Path, case: tuple[dict[str, Any], Any, str]
) -> None:
    """engine="auto" says what needs autograd, and trains to the bit as engine="autograd" does;
    engine="fused" refuses with one ValueError that names it, before the first step."""
    settings, kind, reason = case
    models = []
    for engine in ("auto", "autograd"):
        model = made(kind, engine)
        trainer = quiet_trainer(tmp_path, **{"max_epochs": 2, **settings})
        trainer.fit(model, Batches(*images(), 4))
        models.append(model)
    assert reason in models[0].trained_by
    assert models[0].trained_by.startswith("autograd (")
    for mine, theirs in zip(*(model.parameters() for model in models), strict=True):
        assert mine.equal(theirs)
    model = made(kind, "fused")
    start = [p.detach().clone() for p in model.parameters()]
    trainer = quiet_trainer(tmp_path, **{"max_epochs": 1, **settings})
    with pytest.raises(ValueError, match=r"^engine=fused: .*choose engine=auto") as error:
        trainer.fit(model, Batches(*images(), 4))
    assert reason in str(error.value)
    assert all(a.equal(b) for a, b in zip(start, model.parameters(), strict=True))
    assert "advance" not in vars(trainer.fit_loop.epoch_loop)


def test_several_processes_average_their_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, or a strategy that is not for one device, are autograd's."""
    model = Classifier(15, [8], 4)
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, Batches(*images(), 4))
    assert reason_for_autograd(model, trainer, Classifier) == ""
    monkeypatch.setattr(type(trainer), "world_size", 2)
    assert reason_for_autograd(model, trainer, Classifier) == "2 processes average their gradients"


class Snapshot(pl.Callback):
    """Copies the module after every epoch."""

    def __init__(self) -> None:
        self.copies: list[Any] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer
        self.copies.append(deepcopy(pl_module))


def test_a_module_can_be_copied_while_it_trains(tmp_path: Path) -> None:
    """A callback that keeps copies of the model gets whole ones, which the run does not change."""
    snapshot = Snapshot()
    run = train(tmp_path, "fused", callbacks=lambda: [snapshot])
    assert run.error is None
    first, last = snapshot.copies
    for early, late, trained in zip(
        first.parameters(), last.parameters(), run.model.parameters(), strict=True
    ):
        assert late.equal(trained)
        assert not early.equal(late)


def test_an_engine_is_not_of_the_weights(tmp_path: Path) -> None:
    """A checkpoint does not say who trained: it is taken up by a run that needs autograd."""
    run = train(tmp_path, "fused", max_epochs=1)
    run.trainer.save_checkpoint(tmp_path / "one.ckpt")
    state = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert "engine" not in state["hyper_parameters"]
    again = train(
        tmp_path, "auto", ckpt_path=tmp_path / "one.ckpt", max_epochs=2, detect_anomaly=True
    )
    assert again.error is None
    assert again.trainer.global_step == 2 * BATCHES
    assert again.model.trained_by.startswith("autograd (detect_anomaly")


def test_a_hook_on_the_module_needs_autograd(tmp_path: Path) -> None:
    """Hooks of the module's own forward are called, as in a run by autograd."""
    seen: list[int] = []

    class Hooked(pl.Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            del trainer
            pl_module.register_forward_hook(lambda *_: seen.append(1))

    run = train(tmp_path, "auto", callbacks=lambda: [Hooked()], max_epochs=1)
    assert "hooks" in run.model.trained_by
    assert len(seen) >= BATCHES
