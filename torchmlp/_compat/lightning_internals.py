"""Lightning's private names that this package reads, one function each; read in 2.6.6.

Where a later Lightning has renamed one, a run goes a slower or plainer way, and says in a sentence
why: `no_fast_loop`, `no_exact_resume` and `no_signals` look for the names before they are needed.
"""

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch

from torchmlp._compat.lightning import pl

from lightning_fabric.utilities import distributed  # isort: skip  after pl
from pytorch_lightning.strategies.launchers import subprocess_script  # isort: skip
from pytorch_lightning.trainer.connectors import signal_connector  # isort: skip

READ_IN = "2.6.6"

_COUNTERS = "fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer"
_FAST_LOOP = (
    "fit_loop.epoch_loop.advance",
    "fit_loop.epoch_loop._batches_that_stepped",
    "fit_loop.epoch_loop._should_accumulate",
    "fit_loop.epoch_loop.restarting",
    "fit_loop.epoch_loop.max_steps",
    "fit_loop.epoch_loop.global_step",
    "fit_loop.epoch_loop.batch_idx",
    "fit_loop.epoch_loop.update_lr_schedulers",
    "fit_loop.epoch_loop.batch_progress.is_last_batch",
    *(f"fit_loop.epoch_loop.batch_progress.{n}.ready" for n in ("current", "total")),
    *(
        f"fit_loop.epoch_loop.batch_progress.increment_{n}"
        for n in ("ready", "started", "processed", "completed")
    ),
    *(f"{_COUNTERS}.step.increment_{n}" for n in ("ready", "completed")),
    *(f"{_COUNTERS}.zero_grad.increment_{n}" for n in ("ready", "started", "completed")),
    "_data_connector._datahook_selector.get_instance",
    "lightning_module._on_before_batch_transfer",
    "precision_plugin.convert_input",
    "received_sigterm",
    "num_training_batches",
    "val_check_batch",
    "_val_check_time_interval",
    "lr_scheduler_configs",
)
_EXACT_RESUME = (
    "_logger_connector._callback_metrics",
    "_logger_connector._logged_metrics",
    "_logger_connector._progress_bar_metrics",
    "_logger_connector._first_loop_iter",
    "_logger_connector.should_update_logs",
    "fit_loop._restarting",
    "fit_loop._data_fetcher",
    "fit_loop.reset_restart_stage",
    "fit_loop.epoch_progress.total.started",
    "fit_loop.epoch_loop._batches_that_stepped",
    "fit_loop.epoch_loop._results",
    "fit_loop.epoch_loop._should_check_val_fx",
    "fit_loop.epoch_loop._num_ready_batches_reached",
    "fit_loop.epoch_loop.val_loop._restart_stage",
    "fit_loop.epoch_loop.batch_progress.total.processed",
)
_SIGNALS = (
    "_signal_connector",
    "fit_loop._can_stop_early",
    "fit_loop.epoch_loop._broadcast_sigterm_tensor",
)
_NOTHING = object()


def _missing(trainer: Any, paths: tuple[str, ...]) -> str:
    for path in paths:
        found = trainer
        for name in path.split("."):
            found = getattr(found, name, _NOTHING)
            if found is _NOTHING:
                return _has_no(path)
    return ""


def _has_no(name: str) -> str:
    release = version("pytorch-lightning")
    return f"pytorch-lightning {release} has no {name}, which torchmlp knows from {READ_IN}"


# The loop over batches.


def no_fast_loop(trainer: Any) -> str:
    """Why no batches can be taken ahead of Lightning's; "" where they can."""
    checkpoints = [c for c in trainer.checkpoint_callbacks if _is_checkpoint(c)]
    of_checkpoints = ("_every_n_train_steps", "_train_time_interval")
    lost = [n for n in of_checkpoints for c in checkpoints if not hasattr(c, n)]
    return _missing(trainer, _FAST_LOOP) or (_has_no(f"ModelCheckpoint.{lost[0]}") if lost else "")


def batches_that_stepped(loop: Any) -> int:
    """The step that a log row of the batch under way has."""
    count: int = loop._batches_that_stepped
    return count


def is_accumulating(loop: Any) -> bool:
    """Whether the optimizer takes no step after the batch under way: gradients are added up."""
    accumulates: bool = loop._should_accumulate()
    return accumulates


def add_batches_that_stepped(loop: Any, count: int) -> None:
    """Count steps, or take them back."""
    loop._batches_that_stepped += count


def owner_of_data_hook(trainer: Any, name: str) -> Any:
    """The module or data module whose hook on the way of a batch is called."""
    return trainer._data_connector._datahook_selector.get_instance(name)


def before_batch_transfer(module: Any) -> Callable[..., Any]:
    """The hook before a batch goes to its device, with what Lightning does around it."""
    hook: Callable[..., Any] = module._on_before_batch_transfer
    return hook


def steps_between_saves(callback: Any) -> int:
    """After how many steps a checkpoint callback saves; 0 for one that counts none."""
    steps: int = callback._every_n_train_steps
    return steps


def goes_by_the_clock(trainer: Any) -> bool:
    """Whether a validation or a checkpoint is due by time."""
    return trainer._val_check_time_interval is not None or any(
        getattr(callback, "_train_time_interval", None) is not None
        for callback in trainer.checkpoint_callbacks
    )


def detects_anomalies(trainer: Any) -> bool:
    """Whether autograd is looked at for values that are not finite."""
    return bool(getattr(trainer, "_detect_anomaly", torch.is_anomaly_enabled()))


# What has been logged.


def logged_result(module: pl.LightningModule, key: str) -> Any:
    """What `self.log` adds up under a key ("training_step.train_loss"); None for nothing."""
    results = getattr(module._trainer, "_results", None)
    return results.get(key) if results else None


def results_of_epoch(trainer: Any) -> Any:
    """What `self.log` has added up in the epoch so far, by key."""
    return trainer.fit_loop.epoch_loop._results


def step_value(result: Any) -> Any:
    """The value that was logged last, of one that is also logged at every step."""
    return getattr(result, "_forward_cache", None)


def set_step_value(result: Any, value: Any) -> None:
    """Put it back."""
    result._forward_cache = value


def last_metrics(trainer: Any) -> list[dict[str, Any]]:
    """The last values of all that was logged, as callbacks, schedulers and bars see them."""
    connector = trainer._logger_connector
    return [
        connector._callback_metrics,
        connector._logged_metrics,
        connector._progress_bar_metrics,
    ]


def log_due_row(trainer: Any, *, always: bool) -> None:
    """Log the row of the batch or epoch under way, where one is due."""
    connector = trainer._logger_connector
    if always or connector.should_update_logs:
        connector.log_metrics(connector.metrics["log"])


def keep_results(trainer: Any) -> None:
    """In the middle of an epoch: at its first batch Lightning would clear what was added up."""
    trainer._logger_connector._first_loop_iter = False


# Going on from a checkpoint.


def no_exact_resume(trainer: Any) -> str:
    """Why a resumed run is not the uninterrupted one to the last bit; "" where it is."""
    known = isinstance(getattr(getattr(pl.loops, "_Loop", None), "restarting", None), property)
    return _missing(trainer, _EXACT_RESUME) or ("" if known else _has_no("loops._Loop.restarting"))


def has_started_again(trainer: Any) -> None:
    """Have Lightning treat what follows as any other epoch."""
    if hasattr(trainer.fit_loop, "_restarting"):
        trainer.fit_loop._restarting = False


def validates_after_this_batch(trainer: Any) -> bool:
    """Whether a validation is due at the batch that the loop stands at."""
    loop = trainer.fit_loop
    return bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))


def validate_first(trainer: Any) -> None:
    """Have a resumed run begin with the validation that was due."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    loop._restart_stage = "restarted_mid_evaluation"


def has_taken_all_batches(trainer: Any) -> bool:
    """Whether the epoch under way has no batch left."""
    return bool(trainer.fit_loop.epoch_loop._num_ready_batches_reached())


def end_restart(trainer: Any) -> None:
    """A run that counts steps would take up the epoch's end again."""
    restarting: Any = pl.loops._Loop.restarting  # type: ignore[attr-defined]
    restarting.fset(trainer.fit_loop, False)
    trainer.fit_loop.reset_restart_stage()


# Checkpoints.


def _is_checkpoint(callback: Any) -> bool:
    return isinstance(callback, pl.callbacks.ModelCheckpoint)


def saves_at_epoch_end(callback: Any, trainer: Any) -> bool:
    """Whether a checkpoint callback saves after the epoch, and not after its validation."""
    ask = getattr(callback, "_should_save_on_train_epoch_end", None)
    return bool(ask(trainer)) if ask else False


def step_of_last_save(callback: Any) -> int:
    """The global step of the last checkpoint; -1 where that is not known."""
    return getattr(callback, "_last_global_step_saved", -1)


def save_last(callback: Any, trainer: Any) -> None:
    """Write last.ckpt."""
    if hasattr(callback, "_save_last_checkpoint") and hasattr(callback, "_monitor_candidates"):
        callback._save_last_checkpoint(trainer, callback._monitor_candidates(trainer))


# Signals and processes.

SignalConnector: Any = getattr(signal_connector, "_SignalConnector", object)
SubprocessLauncher: Any = getattr(subprocess_script, "_SubprocessScriptLauncher", object)


def no_signals(trainer: Any) -> str:
    """Why a signal cannot wait for the end of a batch; "" where it can."""
    if SignalConnector is object:
        return _has_no("trainer.connectors.signal_connector._SignalConnector")
    return _missing(trainer, _SIGNALS)


def signal_connector_of(trainer: Any) -> Any:
    """What hears signals for a trainer."""
    return trainer._signal_connector


def set_signal_connector(trainer: Any, connector: Any) -> None:
    """Put another in its place, without Lightning's word to other processes at every batch."""
    trainer._signal_connector = connector
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None


def can_stop_early(loop: Any) -> bool:
    """Whether a run may end before its least number of epochs or steps."""
    return bool(loop._can_stop_early)


def no_launcher() -> str:
    """Why Lightning's starting of other processes cannot be watched; "" where it can."""
    if not hasattr(SubprocessLauncher, "_call_children_scripts"):
        return _has_no("_SubprocessScriptLauncher._call_children_scripts")
    known = hasattr(distributed, "_set_num_threads_if_needed")
    return "" if known else _has_no("utilities.distributed._set_num_threads_if_needed")


def start_other_processes(launcher: Any, words: list[str]) -> None:
    """Start this program once more for each other rank, which Lightning does with sys.argv."""
    own, sys.argv[1:] = sys.argv[1:], words
    try:
        launcher._call_children_scripts()
    finally:
        sys.argv[1:] = own


def set_threads(processes: int) -> None:
    """Share the cores out among the processes of this machine."""
    distributed._set_num_threads_if_needed(num_processes=processes)


# LightningCLI, whose methods with a leading underscore a subclass overrides.


def defaults_of_subcommand(cli: Any) -> Any:
    """The defaults of the command that a LightningCLI runs; none where they cannot be asked for."""
    find = getattr(cli, "_parser", None)
    return find(cli.subcommand).get_defaults() if find else {}
