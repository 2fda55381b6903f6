"""Adapters: from a configured LightningCLI to the inputs of diagnose and map."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch

from torchmlp.data import Batches
from torchmlp.diagnosis.run.batches import read_batches
from torchmlp.diagnosis.run.lightning_adapter import run_of
from torchmlp.diagnosis.run.run import TrainingRun
from torchmlp.lightning.datamodule import ImageDataModule
from torchmlp.stability.map.cell import Cell
from torchmlp.stability.map.config import LEFT_OUT, MapConfig
from torchmlp.stability.map.data import MapData

HELD_OUT = 10  # every tenth sample, of data that hold none out themselves
ALL = 10**9  # batches
MOVED = ("max_shift", "elastic_alpha", "max_rotation", "max_scale")  # training images are


def run_of_steps(cli: Any, steps: int) -> TrainingRun:
    """The run, and its first batches."""
    module, trainer = cli.model, cli.trainer
    precision = trainer.strategy.precision_plugin
    module = precision.convert_module(module).to(trainer.strategy.root_device)
    pairs = read_batches(_training_batches(cli), None, steps)
    batches = [precision.convert_input(pair) for pair in pairs]
    with _length_known(module, steps):
        configured = module.configure_optimizers()
    return run_of(module, batches, configured)


def own_cell(cli: Any) -> Cell:
    """The run's own place on a map: its first hidden layer's width, its batch size and rate."""
    arguments = _named(cli, "model").get("init_args") or {}
    hidden = arguments.get("hidden", ())
    widths = [hidden] if isinstance(hidden, int) else list(hidden)
    parts = getattr(cli.model, "parts", None)
    own = parts()[2] if parts else None
    optimizer = _optimizer(cli)
    rate = optimizer["init_args"].get("lr") if optimizer else None
    if own is not None:
        rate = own.param_groups[0]["lr"]
    return Cell(
        width=widths[0] if widths else 1,
        depth=max(len(widths), 1),
        batch_size=getattr(cli.datamodule, "batch_size", 32),
        lr=float(rate or 0.01),
        init=str(arguments.get("init", "auto")),
        seed=int(cli.config[cli.subcommand].seed_everything or 0),
    )


def map_config(cli: Any, steps: int) -> MapConfig:
    """How each combination of a map is trained."""
    precision = str(cli.trainer.precision)
    return MapConfig(
        _named(cli, "model"),
        _optimizer(cli),
        dtype="float64" if precision.startswith("64") else "float32",
        steps=steps,
    )


def ignored_settings(cli: Any) -> list[str]:
    """Settings of the run that a map ignores."""
    arguments = {**_named(cli, "model")["init_args"], **_named(cli, "data")["init_args"]}
    names = (*LEFT_OUT, *MOVED)
    found = [f"{name} {arguments[name]:g}" for name in names if arguments.get(name)]
    schedule = cli.config[cli.subcommand].lr_scheduler if cli.configures_optimizer else None
    return found + ([schedule.class_path.rpartition(".")[2]] if schedule else [])


def map_data(cli: Any) -> MapData:
    """The training data in memory, and what is held out of them."""
    loader = _training_batches(cli)
    if isinstance(cli.datamodule, ImageDataModule):
        held: Any = cli.datamodule.val_dataloader()
        assert isinstance(loader, Batches)
        if held:
            return MapData.of(loader.inputs, loader.targets, held.inputs, held.targets)
        x, labels = loader.inputs, loader.targets
    else:
        x, labels = map(torch.cat, zip(*read_batches(loader, None, ALL), strict=True))
    is_held = torch.arange(len(x)) % HELD_OUT == 0
    return MapData.of(x[~is_held], labels[~is_held], x[is_held], labels[is_held])


def _training_batches(cli: Any) -> Any:
    data = cli.datamodule
    if data is None:
        return cli.model.train_dataloader()
    data.prepare_data()
    data.setup("fit")
    return data.train_dataloader()


def _named(cli: Any, section: str) -> dict[str, Any]:
    """A class and its arguments, as the configuration names them."""
    found = cli.config[cli.subcommand][section].as_dict()
    return {"class_path": found["class_path"], "init_args": found.get("init_args") or {}}


def _optimizer(cli: Any) -> dict[str, Any] | None:
    """The configured one; None where the module brings its own."""
    return _named(cli, "optimizer") if cli.configures_optimizer else None


@contextmanager
def _length_known(module: Any, steps: int) -> Iterator[None]:
    """Tell schedulers, which ask the trainer, how long the run will be."""
    module.trainer = SimpleNamespace(estimated_stepping_batches=steps)
    try:
        yield
    finally:
        module.trainer = None
