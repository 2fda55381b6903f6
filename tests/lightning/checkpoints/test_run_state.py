"""A resumed run is the run: weights, optimizer, schedule and every row, to the last bit."""

import csv
import re
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from tests.lightning.lightning_runs import ignore_lightnings_own, quiet_trainer
from torchmlp import Classifier, ImageDataModule
from torchmlp._compat.lightning import pl
from torchmlp._runtime.interruption import Interruption
from torchmlp.lightning.checkpoints.best_and_last import best_and_last
from torchmlp.lightning.checkpoints.files import INTERRUPTED
from torchmlp.lightning.checkpoints.run_state import RunState
from torchmlp.lightning.checkpoints.save_when_interrupted import SaveWhenInterrupted
from torchmlp.lightning.run_folder import Rows
from torchmlp.lightning.schedules import OneCycle, for_lightning

pytestmark = [
    ignore_lightnings_own,
    pytest.mark.filterwarnings("ignore:.*could not find the monitored key"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:You passed in a .val_dataloader. but have no"),
]
BATCHES = 9  # of an epoch


class After(Interruption):
    """A signal that comes in the step of that number."""

    trainer: Any = None

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__()

    @property
    def number(self) -> int | None:
        has_come = self.trainer is not None and self.trainer.global_step >= self.step
        return signal.SIGINT if has_come else None

    @number.setter
    def number(self, number: int | None) -> None:
        pass


class KilledError(Exception):
    """What ends a run without a word."""


class Cut(pl.Callback):
    """A signal that comes in a hook once a step is over; or the end, there and then."""

    watches_batches = False

    def __init__(self, hook: str, step: int, *, kills: bool) -> None:
        self.step, self.kills = step, kills
        self.interruption = Interruption()
        setattr(self, hook, self._come)

    def _come(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            if self.kills:
                raise KilledError
            self.interruption.number = signal.SIGINT


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
}
SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "cycle": OneCycle,
    "epochs": lambda o: StepLR(o, 1, 0.5),
    "plateau": lambda o: ReduceLROnPlateau(o, patience=0, threshold=0.5),
}


def fit(
    folder: Path,
    ckpt_path: Path | None = None,
    *,
    engine: Any = "fused",
    optimizer: str = "SGD",
    schedule: str = "cycle",
    seed: int = 5,
    cut_after: int = 0,
    cut: Cut | None = None,
    every: int = 0,
    **settings: Any,
) -> pl.Trainer:
    """A run with all that is drawn at random; cut where it is asked to be."""
    pl.seed_everything(seed, verbose=False)
    model = Classifier(hidden=[6], dropout=0.3, input_dropout=0.2, engine=engine)

    def configure() -> Any:
        made = OPTIMIZERS[optimizer](model.parameters())
        return for_lightning(model, made, SCHEDULES[schedule](made))

    model.configure_optimizers = configure  # type: ignore[method-assign]
    interruption = After(cut_after) if cut_after else Interruption()
    callbacks = [SaveWhenInterrupted(interruption), best_and_last("val_accuracy")]
    if cut:
        callbacks = [cut, SaveWhenInterrupted(cut.interruption), *callbacks[1:]]
    if every:
        kept = {"every_n_train_steps": every, "save_top_k": -1, "filename": "{step}"}
        callbacks.append(pl.callbacks.ModelCheckpoint(**kept))  # type: ignore[arg-type]
    trainer = quiet_trainer(
        folder, logger=Rows(folder, "logs", 0), callbacks=callbacks, enable_checkpointing=True,
        **{"max_epochs": 3, "log_every_n_steps": 2, **settings},
    )  # fmt: skip
    if isinstance(interruption, After):
        interruption.trainer = trainer
    moved: dict[str, Any] = {"max_shift": 1, "elastic_alpha": 20.0, "max_rotation": 5.0}
    data = ImageDataModule(source="embedded", batch_size=500, **moved)
    try:
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)
    except (SystemExit, KilledError):
        assert cut_after or cut
    else:
        assert not cut_after
    return trainer


def rows_of(folder: Path) -> list[dict[str, str]]:
    path = folder / "logs" / "version_0" / "metrics.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def checkpoint_in(folder: Path, name: str) -> Path:
    (path,) = folder.rglob(name)
    return path


def end_of(folder: Path) -> dict[str, Any]:
    """What a run has ended with, file names apart."""
    state: dict[str, Any] = torch.load(checkpoint_in(folder, "last.ckpt"), weights_only=True)
    for name in ("callbacks", "hyper_parameters"):
        state.pop(name, None)
    # The checker of shapes, which only tests have, draws from Python's.
    del state["torchmlp"]["processes"][0]["random"]["python"]
    # What the bar shows: an epoch's checkpoint is written before the bar is given its figures.
    del state["torchmlp"]["metrics"][2]
    return state


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """To the last bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    elif isinstance(one, torch.Tensor):
        assert one.equal(other), where
    else:
        assert one == other, where


def assert_is_the_run(whole: Path, first: Path, rest: Path, step: int) -> None:
    """The second part ends as the uncut run does, and its rows follow on those of the first."""
    later = rows_of(rest)
    before = [row for row in rows_of(first) if int(row["step"]) < step and row not in later]
    assert before + later == rows_of(whole)
    assert_same(end_of(rest), end_of(whole))


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of an uncut run with these settings, made once."""
    made: dict[str, Path] = {}

    def make(**settings: Any) -> Path:
        key = repr(sorted(settings.items()))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("uncut")
            fit(made[key], **settings)
        return made[key]

    return make


# In mid-epoch, at the end of the first epoch and before that of the second.
CUTS = [
    *(("fused", "SGD", step) for step in (1, 4, BATCHES, 2 * BATCHES - 1)),
    *(("autograd", "Adam", step) for step in (5, BATCHES)),
    *(("fused", "Adam", 4), ("autograd", "SGD", 2 * BATCHES - 1)),
]


@pytest.mark.parametrize(("engine", "optimizer", "step"), CUTS)
def test_an_interrupted_run(
    tmp_path: Path, uncut: Callable[..., Path], engine: str, optimizer: str, step: int
) -> None:
    """Dropout, input dropout and shifts: cut by a signal after any batch, and given another seed,
    the run goes on as if it had not been, and its rows beside those of the first part are those
    of the uncut run, no more and no fewer."""
    settings: Any = {"engine": engine, "optimizer": optimizer}
    whole = uncut(**settings)
    first, rest = tmp_path / "first", tmp_path / "rest"
    cut = fit(first, cut_after=step, **settings)
    assert cut.global_step == step
    fit(rest, checkpoint_in(first, INTERRUPTED), seed=77, **settings)
    assert rows_of(first) + rows_of(rest) == rows_of(whole)
    assert_is_the_run(whole, first, rest, step)


RUNS: dict[str, dict[str, Any]] = {
    "validation in mid-epoch": {"val_check_interval": 3},
    "validation every second epoch": {"check_val_every_n_epoch": 2, "max_epochs": 4},
    "counted in steps": {"max_steps": 23, "max_epochs": -1},
    "every row": {"log_every_n_steps": 1},
    "epochs": {"schedule": "epochs"},
    "plateau": {"schedule": "plateau"},
}


@pytest.mark.parametrize("step", [6, BATCHES])
@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_other_runs(
    tmp_path: Path, uncut: Callable[..., Path], settings: dict[str, Any], step: int
) -> None:
    """Wherever validation, rows and the schedule fall, beside the cut too."""
    first, rest = tmp_path / "first", tmp_path / "rest"
    fit(first, cut_after=step, **settings)
    fit(rest, checkpoint_in(first, INTERRUPTED), **settings)
    assert rows_of(first) + rows_of(rest) == rows_of(uncut(**settings))
    assert_is_the_run(uncut(**settings), first, rest, step)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, *RUNS.values()], ids=["plain", *RUNS])
def test_from_a_checkpoint_of_any_step(
    tmp_path: Path, uncut: Callable[..., Path], settings: dict[str, Any]
) -> None:
    """A run that was killed goes on from its newest checkpoint: after some steps, the last of an
    epoch among them, and before or after the validation and the epoch's end that follow."""
    whole = uncut(every=3, **settings)
    for step in (6, BATCHES, 2 * BATCHES - 3):
        rest = tmp_path / str(step)
        fit(rest, checkpoint_in(whole, f"step={step}.ckpt"), every=3, **settings)
        assert_is_the_run(whole, whole, rest, step)


AT_THE_END = [
    *(("on_train_batch_end", epoch, kills) for epoch in (1, 2) for kills in (False, True)),
    ("on_train_epoch_end", 1, False),
    ("on_train_epoch_end", 2, False),
    ("on_train_epoch_end", 2, True),  # with the validation's checkpoint, and not yet the epoch's
    ("on_validation_start", 2, False),
    ("on_validation_end", 2, False),
    ("on_train_end", 2, False),
    ("on_train_end", 2, True),
    ("on_fit_end", 2, False),
]


@pytest.mark.parametrize(
    "settings",
    [
        {"check_val_every_n_epoch": 2, "max_epochs": 2},
        pytest.param({"val_check_interval": BATCHES, "max_epochs": 2}, marks=pytest.mark.slow),
    ],
    ids=["every second epoch", "after the last batch"],
)
def test_cut_anywhere_at_the_end_of_an_epoch(
    tmp_path: Path, uncut: Callable[..., Path], settings: dict[str, Any]
) -> None:
    """Between the last batch and the end of the run, where a validation writes checkpoints too:
    the run goes on from its newest, or is finished, and last.ckpt is the uncut run's."""
    whole = uncut(**settings)
    finished = []
    for number, (hook, epoch, kills) in enumerate(AT_THE_END):
        first, rest = tmp_path / f"{number}", tmp_path / f"{number} rest"
        fit(first, cut=Cut(hook, epoch * BATCHES, kills=kills), **settings)
        checkpoints = sorted(first.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
        if not checkpoints:
            assert (hook, epoch, kills) == ("on_train_batch_end", 1, True)
            continue
        try:
            fit(rest, checkpoints[-1], **settings)
        except ValueError as error:
            assert "finished run" in str(error)  # noqa: PT017  one of two ways to be right
            assert rows_of(first) == rows_of(whole)
            assert_same(end_of(first), end_of(whole), f"{hook} {epoch} {kills}")
            finished.append(hook)
        else:
            step = torch.load(checkpoints[-1], weights_only=True)["global_step"]
            assert_is_the_run(whole, first, rest, step)
    assert finished[-3:] == ["on_train_end", "on_train_end", "on_fit_end"]


class Foreign(pl.LightningModule):
    """Somebody's module, whose figures Lightning adds up."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(784, 10)

    def training_step(self, batch: Any) -> torch.Tensor:
        logits = self.layer(torch.nn.functional.dropout(batch[0].flatten(1) / 255, 0.3))
        loss = torch.nn.functional.cross_entropy(logits, batch[1])
        for reduction in ("mean", "max", "sum"):
            self.log(f"train_{reduction}", loss, on_step=True, on_epoch=True, reduce_fx=reduction)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_any_module(tmp_path: Path) -> None:
    """Whatever a module logs of an epoch, and however, goes on where it was."""

    def train(folder: Path, step: int = 0, ckpt_path: Path | None = None) -> None:
        pl.seed_everything(5, verbose=False)
        interruption = After(step) if step else Interruption()
        trainer = quiet_trainer(
            folder, logger=Rows(folder, "logs", 0), max_epochs=2, log_every_n_steps=2,
            callbacks=[SaveWhenInterrupted(interruption), RunState(), best_and_last(None)],
            enable_checkpointing=True,
        )  # fmt: skip
        if isinstance(interruption, After):
            interruption.trainer = trainer
        with pytest.raises(SystemExit) if step else nullcontext():
            trainer.fit(Foreign(), datamodule=ImageDataModule("mnist", source="embedded",
                        batch_size=500), ckpt_path=ckpt_path)  # fmt: skip

    whole, first, rest = (tmp_path / name for name in ("whole", "first", "rest"))
    train(whole)
    train(first, step=4)
    train(rest, ckpt_path=checkpoint_in(first, INTERRUPTED))
    assert rows_of(first) + rows_of(rest) == rows_of(whole)
    assert_is_the_run(whole, first, rest, 4)


def test_from_the_last_checkpoint_of_an_epoch(tmp_path: Path, uncut: Callable[..., Path]) -> None:
    """A run that is killed after an epoch; the schedule that looks at its figures goes on too."""
    for schedule in ("cycle", "plateau"):
        first, rest = tmp_path / schedule, tmp_path / f"{schedule} rest"
        fit(first, cut_after=BATCHES + 2, schedule=schedule)
        checkpoint = checkpoint_in(first, "last.ckpt")
        fit(rest, checkpoint, schedule=schedule)
        assert_is_the_run(uncut(schedule=schedule), first, rest, BATCHES)


def test_two_runs_write_the_same_rows(
    tmp_path: Path, uncut: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches the clock puts between two of Lightning's."""
    settings: Any = {"log_every_n_steps": 9}
    monkeypatch.setattr("torchmlp.lightning.fast_loop.MAX_BURST_S", 0.0)
    fit(tmp_path, **settings)
    assert rows_of(tmp_path) == rows_of(uncut(**settings))


def test_a_finished_run_is_refused(tmp_path: Path, uncut: Callable[..., Path]) -> None:
    """It says what is done and what to give."""
    checkpoint = checkpoint_in(uncut(), "last.ckpt")
    with pytest.raises(ValueError, match=r"finished run: 3 epochs .*--trainer\.max_epochs 6"):
        fit(tmp_path, checkpoint)
    with pytest.raises(ValueError, match=r"finished run: 27 steps .*--trainer\.max_steps 54"):
        fit(tmp_path, checkpoint, max_epochs=-1, max_steps=27)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "Adam"}, "another optimizer: the run had SGD, and this one has Adam"),
        ({"schedule": "epochs"}, "another lr_scheduler: the run had OneCycle, and .* has StepLR"),
    ],
    ids=["optimizer", "scheduler"],
)
def test_another_optimizer_is_refused(
    tmp_path: Path, uncut: Callable[..., Path], settings: dict[str, Any], message: str
) -> None:
    """Before a step is taken with a state that is not its own."""
    checkpoint = checkpoint_in(uncut(), "last.ckpt")
    with pytest.raises(ValueError, match=f"checkpoint of {message}"):
        fit(tmp_path, checkpoint, max_epochs=4, **settings)


def test_a_schedule_of_an_earlier_release_goes_on(
    tmp_path: Path, uncut: Callable[..., Path]
) -> None:
    """A class of the package that has moved since is the same class."""
    state = torch.load(checkpoint_in(uncut(), "last.ckpt"), weights_only=True)
    assert state["torchmlp"]["schedulers"] == ["torchmlp.OneCycle"]
    state["torchmlp"]["schedulers"] = ["torchmlp.training.schedules.OneCycle"]
    torch.save(state, tmp_path / "old.ckpt")
    fit(tmp_path, tmp_path / "old.ckpt", max_epochs=4)
    assert rows_of(tmp_path)


def test_a_state_of_other_shapes_is_refused(tmp_path: Path, uncut: Callable[..., Path]) -> None:
    """The tensor is named, and both shapes."""
    state = torch.load(checkpoint_in(uncut(), "last.ckpt"), weights_only=True)
    states = state["optimizer_states"][0]["state"]
    states[1]["momentum_buffer"] = torch.zeros(4)
    torch.save(state, tmp_path / "other.ckpt")
    expected = re.escape("momentum_buffer of parameter 1 is (4,), and the parameter is (6,)")
    with pytest.raises(ValueError, match=expected):
        fit(tmp_path, tmp_path / "other.ckpt", max_epochs=4)
    group = state["optimizer_states"][0]["param_groups"][0]
    group["params"] = group["params"][:-1]
    torch.save(state, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="its state is of 3 parameters, and the model has 4"):
        fit(tmp_path, tmp_path / "other.ckpt", max_epochs=4)
