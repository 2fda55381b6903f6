"""A resumed run is the run: what Lightning's checkpoints leave out of it.

Lightning saves weights, optimizers, schedulers, callbacks and counters. It leaves out the random
generators and what has been added up of the epoch under way; and what follows a batch or an epoch
after the moment a checkpoint is written (its log row, a validation, a scheduler that looks at its
figures) it does not always take up again.
"""

import re
import warnings
from typing import Any

import torch
from torch import Tensor

from torchmlp._compat.lightning import pl
from torchmlp._compat.lightning_internals import (
    add_batches_that_stepped,
    end_restart,
    has_started_again,
    has_taken_all_batches,
    keep_results,
    last_metrics,
    log_due_row,
    no_exact_resume,
    results_of_epoch,
    set_step_value,
    step_value,
    validate_first,
    validates_after_this_batch,
)
from torchmlp._runtime.random_state import random_state, set_random_state

KEY = "torchmlp"  # of all this in a checkpoint
OF_OTHER_SHAPES = ("Adafactor", "LBFGS")  # rows and columns; all parameters in one line


class RunState(pl.Callback):
    """Puts into a checkpoint what a run needs to go on as if it had not been cut, and takes it up.

    Weights, optimizer, schedule and log rows of the resumed run are those of the uninterrupted one
    to the last bit, on one machine with the same threads and versions. A module's `process_state`
    and `load_process_state`, where it has them, keep what else it needs.

    Raises:
        ValueError: when a resumed run is finished, has other optimizers or schedulers than it had,
            or an optimizer's state is of another shape; before the first step.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None
        self._in_batch = self._in_epoch_end = False  # where the checkpoint was written

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning leaves out; write the log row that is due first."""
        if trainer.state.fn != "fit":
            return
        is_cut = trainer.state.status == "interrupted"
        is_exact = not no_exact_resume(trainer)
        if is_exact and not is_cut:
            _write_due_row(trainer)
        in_epoch = is_exact and _epochs(trainer).started > _epochs(trainer).processed
        own = getattr(pl_module, "process_state", None)
        checkpoint[KEY] = {
            "cut": is_cut,
            "optimizers": [_name(optimizer) for optimizer in trainer.optimizers],
            "schedulers": [_name(c.scheduler) for c in trainer.lr_scheduler_configs],
            "metrics": [dict(metrics) for metrics in last_metrics(trainer)] if is_exact else [],
            "processes": _of_every_process(
                {
                    "random": random_state(),
                    "results": _results(trainer) if in_epoch else [],
                    "own": own() if own else None,
                }
            ),
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Set the generators; a batch that was saved at its end is over."""
        del pl_module
        self._loaded = None
        if trainer.state.fn != "fit":
            return
        _refuse_finished(trainer, checkpoint)
        self._loaded = checkpoint
        if KEY not in checkpoint:
            warnings.warn(
                "checkpoint without the state of the random generators: from here on the run is "
                "not what it would have been uninterrupted",
                stacklevel=2,
            )
        else:
            # Here, for loaders draw when they are made, and once more below.
            set_random_state(self._own_state(trainer)["random"])
            loops = checkpoint["loops"]["fit_loop"]
            batches, epochs = loops["epoch_loop.batch_progress"], loops["epoch_progress"]["total"]
            self._in_batch = batches["total"]["completed"] < batches["total"]["processed"]
            self._in_epoch_end = epochs["completed"] < epochs["processed"]
            for progress in (batches["total"], batches["current"]):
                progress["completed"] = progress["processed"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the optimizers with the checkpoint's, before they are given its state."""
        del pl_module
        if self._loaded is not None:
            _compare_optimizers(trainer, self._loaded)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on where the checkpoint was written."""
        if self._loaded is None or KEY not in self._loaded:
            return
        saved, own = self._loaded[KEY], self._own_state(trainer)
        self._loaded = None
        if reason := no_exact_resume(trainer):
            warnings.warn(
                f"from here on the run may differ from the uninterrupted one: {reason}",
                stacklevel=2,
            )
            return
        # A checkpoint that was written without them has none.
        for mine, theirs in zip(last_metrics(trainer), saved["metrics"], strict=False):
            mine.update(theirs)
        load: Any = getattr(pl_module, "load_process_state", None)
        if load and own["own"] is not None:
            load(own["own"])
        if _epochs(trainer).started > _epochs(trainer).processed:
            set_random_state(own["random"])
            _set_results(trainer, own["results"])
            self._go_on_in_epoch(trainer, is_cut=saved["cut"])
        else:
            self._go_on_between_epochs(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have Lightning step the schedulers that look at metrics, which now are there."""
        del pl_module
        has_started_again(trainer)

    def _own_state(self, trainer: pl.Trainer) -> dict[str, Any]:
        assert self._loaded is not None
        processes: list[dict[str, Any]] = self._loaded[KEY]["processes"]
        return processes[trainer.global_rank % len(processes)]

    def _go_on_in_epoch(self, trainer: Any, *, is_cut: bool) -> None:
        """Have Lightning's loop do what follows the last batch, and nothing twice."""
        loop = trainer.fit_loop.epoch_loop
        validates = validates_after_this_batch(trainer)
        if self._in_batch and validates:
            validate_first(trainer)
        elif self._in_batch:
            add_batches_that_stepped(loop, 1)
        elif is_cut and validates:
            add_batches_that_stepped(loop, -1)  # the loop will pass by this batch's end again

    def _go_on_between_epochs(self, trainer: Any) -> None:
        """The end of an epoch is over, whatever Lightning's counters say of it."""
        loop = trainer.fit_loop
        progress = loop.epoch_progress
        if self._in_epoch_end and has_taken_all_batches(trainer):
            # What is left are the schedulers that look at metrics. They ask for the epoch's number.
            progress.current.completed = progress.current.processed - 1
            loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
        progress.current.completed = progress.current.processed
        progress.total.completed = progress.total.processed
        end_restart(trainer)


def _write_due_row(trainer: Any) -> None:
    """Log now what Lightning logs after a checkpoint: cut in between, the row would be lost.

    It is logged again a moment later; `loggers_for`'s CSV logger keeps one of the two.
    """
    loop = trainer.fit_loop.epoch_loop
    batches, epochs = loop.batch_progress.total, _epochs(trainer)
    if not trainer.training:
        return
    if batches.processed > batches.completed:  # in on_train_batch_end
        log_due_row(trainer, always=False)
    elif epochs.processed > epochs.completed:  # in on_train_epoch_end
        add_batches_that_stepped(loop, -1)
        log_due_row(trainer, always=True)
        add_batches_that_stepped(loop, 1)


def _refuse_finished(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    steps = checkpoint["global_step"]
    for what, done, most in (
        ("epochs", epochs, trainer.max_epochs),
        ("steps", steps, trainer.max_steps),
    ):
        if most is not None and most != -1 and done >= most:
            raise ValueError(
                f"checkpoint of a finished run: {done} {what} are done, and --trainer.max_{what} "
                f"is {most}; to go on give more of them, as in --trainer.max_{what} {2 * done}"
            )


def _compare_optimizers(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    saved = checkpoint.get(KEY, {})
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    for what, mine in (("optimizer", trainer.optimizers), ("lr_scheduler", schedulers)):
        names = [_name(one) for one in mine]
        theirs = [_plain(name) for name in saved.get(f"{what.removeprefix('lr_')}s", names)]
        if theirs != names:
            raise ValueError(
                f"checkpoint of another {what}: the run had {_listed(theirs)}, and this one has "
                f"{_listed(names)}; give it the run's own settings, as its config.yaml has them"
            )
    for optimizer, state in zip(trainer.optimizers, checkpoint["optimizer_states"], strict=False):
        _compare_shapes(optimizer, state)


def _compare_shapes(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Refuse a state that is not of the model's parameters.

    Torch's own optimizers keep tensors of the parameters' shapes, all but two of them; of others
    nothing is known.
    """
    mine = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    theirs = [number for group in state["param_groups"] for number in group["params"]]
    if len(mine) != len(theirs):
        raise ValueError(
            f"checkpoint of another optimizer: its state is of {len(theirs)} parameters, and the "
            f"model has {len(mine)}"
        )
    kind = type(optimizer)
    if not kind.__module__.startswith("torch.optim.") or kind.__name__ in OF_OTHER_SHAPES:
        return
    for place, (parameter, number) in enumerate(zip(mine, theirs, strict=True)):
        for key, value in state["state"].get(number, {}).items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(
                    f"checkpoint of another optimizer: {key} of parameter {place} is "
                    f"{tuple(value.shape)}, and the parameter is {tuple(parameter.shape)}"
                )


def _results(trainer: Any) -> list[dict[str, Any]]:
    """What `self.log` has added up in the epoch so far, and how it was logged."""
    found = []
    for result in results_of_epoch(trainer).values():
        meta = result.meta
        reduction = meta.reduce_fx.__name__
        if not result.is_tensor or result.has_reset or meta.reduce_fx is not _reduction(reduction):
            continue
        found.append(
            {
                "how": {
                    **{name: getattr(meta, name) for name in ("fx", "name", "prog_bar", "logger")},
                    **{name: getattr(meta, name) for name in ("on_step", "on_epoch")},
                    "sync_dist": meta.sync.should,
                    "rank_zero_only": meta.sync.rank_zero_only,
                },
                "reduction": reduction,
                "value": result.value.cpu(),
                "count": result.cumulated_batch_size.cpu() if meta.is_mean_reduction else None,
                "step_value": step_value(result),
            }
        )
    return found


def _set_results(trainer: Any, saved: list[dict[str, Any]]) -> None:
    """Go on adding to these."""
    results, device = results_of_epoch(trainer), trainer.strategy.root_device
    for one in saved:
        how = one["how"]
        value = one["value"].to(device)
        results.log(
            **how,
            value=value,
            reduce_fx=_reduction(one["reduction"]),
            sync_dist_fn=trainer.strategy.reduce,
            batch_size=1,
        )
        result = results[f"{how['fx']}.{how['name']}"]
        result.value = value
        set_step_value(result, one["step_value"])
        if one["count"] is not None:
            result.cumulated_batch_size = one["count"].to(device)
    keep_results(trainer)


def _reduction(name: str) -> Any:
    return getattr(torch, name, None)


def _epochs(trainer: Any) -> Any:
    return trainer.fit_loop.epoch_progress.total


def _of_every_process(mine: dict[str, Any]) -> list[dict[str, Any]]:
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return [mine]
    every: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(every, mine)
    return every


def _name(value: object) -> str:
    return _plain(f"{type(value).__module__}.{type(value).__qualname__}")


def _plain(name: str) -> str:
    """A class of this package without its module, which a release may move."""
    return re.sub(r"^torchmlp\..*\.", "torchmlp.", name)


def _listed(names: list[str]) -> str:
    return ", ".join(name.rpartition(".")[2] for name in names) or "none"
