"""Settings shared by all cells, and how a cell's run is built."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from torchmlp.diagnosis.run.lightning_adapter import run_of
from torchmlp.diagnosis.run.run import Batch, TrainingRun
from torchmlp.nn.param_groups import scale_rates
from torchmlp.stability.map.cell import Cell

DTYPES = {"float32": torch.float32, "float64": torch.float64}
# What draws random numbers in training: a map is of the network without.
LEFT_OUT = ("dropout", "input_dropout")


@dataclass(frozen=True)
class MapConfig:
    """What the cells of a map share: plain data, as a process far away can be handed it.

    Attributes:
        model: {"class_path": ..., "init_args": {...}} of a LightningModule with a parameter
            `hidden`: one width, or a sequence of them.
        optimizer: the same of a torch.optim.Optimizer, whose lr is each cell's own; None takes what
            the model's `configure_optimizers` returns, without its schedule. A model that brings
            its own in `parts()` keeps it.
        dtype: "float32" or "float64", of parameters drawn in float32, as Lightning's 64-true has
            them.
        steps: of each cell.

    Raises:
        ValueError: another dtype, or a number of steps below 1.
    """

    model: dict[str, Any]
    optimizer: dict[str, Any] | None = None
    dtype: str = "float32"
    steps: int = 200

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"a map trains in {' or '.join(DTYPES)}, got {self.dtype}")
        if self.steps < 1:
            raise ValueError(f"a map trains for at least 1 step, got {self.steps}")

    @property
    def torch_dtype(self) -> torch.dtype:
        """Of the parameters."""
        return DTYPES[self.dtype]

    def module(self, cell: Cell) -> Any:
        """The LightningModule of a cell, at its start; torch's generator is left as it was.

        Raises:
            ValueError: a class that cannot be found or has no place for the cell's width, depth or
                initialisation.
        """
        kind, arguments = _found(self.model), dict(self.model.get("init_args") or {})
        known = inspect.signature(kind).parameters
        if "hidden" not in known:
            raise ValueError(
                f"a map needs a model with a parameter hidden, the widths of its layers; "
                f"{kind.__name__} has {', '.join(known) or 'none'}"
            )
        arguments["hidden"] = _hidden(kind, known["hidden"], cell)
        if "init" in known:
            arguments["init"] = cell.init
        elif cell.init != "auto":
            raise ValueError(
                f"the map is to start from init={cell.init}, and {kind.__name__} has no parameter "
                f"init; leave the initialisations out"
            )
        arguments |= {name: 0.0 for name in LEFT_OUT if name in known}
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(cell.seed)
            return kind(**arguments).to(self.torch_dtype)

    def run(self, cell: Cell, batches: Sequence[Batch], module: Any = None) -> TrainingRun:
        """The run of a cell, at its start.

        Args:
            cell: the combination.
            batches: the run's first, or all of them.
            module: the cell's, where it has been made already.

        Raises:
            ValueError: as `module`; a model that is not one to train.
        """
        module = self.module(cell) if module is None else module
        module.train()
        # The trainer's optimizer comes without a schedule.
        run = run_of(module, list(batches), self._configured(cell, module), is_live=True)
        for group in run.optimizer.param_groups:
            group["lr"] = cell.lr * group.get("rate_factor", 1.0)
        return run

    def _configured(self, cell: Cell, module: Any) -> Any:
        if self.optimizer is None:
            return module.configure_optimizers()
        kind, arguments = _found(self.optimizer), self.optimizer.get("init_args") or {}
        return scale_rates(kind(module.parameters(), **{**arguments, "lr": cell.lr}), module)


def _found(named: dict[str, Any]) -> Any:
    """The class that is named."""
    module, _, name = named["class_path"].rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no class {named['class_path']} ({error})") from error


def _hidden(kind: type, parameter: inspect.Parameter, cell: Cell) -> Any:
    """The value of `hidden` that makes hidden layers of the cell's width."""
    if parameter.annotation not in (int, "int"):
        return [cell.width] * cell.depth
    if cell.depth != 1:
        raise ValueError(
            f"the map is to have {cell.depth} hidden layers, and {kind.__name__} has one, of "
            f"hidden: int units; leave the depths out"
        )
    return cell.width
