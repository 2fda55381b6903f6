"""Several minibatches per iteration of Lightning's loop, which costs more than a small step.

Lightning's `advance` trains on one batch and calls every hook there is. Before it takes its batch,
`FastEpochLoop` takes those that nothing observes, with the loop's own counters, schedulers and
data: global_step, epochs, the progress bar and a resumed run are what they would have been. Batches
after which something happens (a log row, validation, the end of an epoch or of the run) stay
Lightning's.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from torchmlp._compat.lightning import pl
from torchmlp._compat.lightning_internals import (
    add_batches_that_stepped,
    batches_that_stepped,
    before_batch_transfer,
    goes_by_the_clock,
    is_accumulating,
    no_fast_loop,
    owner_of_data_hook,
    steps_between_saves,
)
from torchmlp.lightning.callbacks.terminate_on_nonfinite import TerminateOnNonFinite

from pytorch_lightning.utilities.exceptions import SIGTERMException  # isort: skip  after pl

MAX_BURST_S = 0.1  # the longest time without a progress update
WATCHES_A_BATCH = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
)
# Their own hooks for a batch do something only where a log row or a checkpoint is due, or can wait
# for `MAX_BURST_S`; the first one's are called here.
CAN_WAIT = (
    TerminateOnNonFinite,
    pl.callbacks.TQDMProgressBar,
    pl.callbacks.RichProgressBar,
    pl.callbacks.LearningRateMonitor,
    pl.callbacks.Timer,
    pl.callbacks.ModelCheckpoint,
)


class FastEpochLoop:
    """Trains on the batches that nothing observes, ahead of each of Lightning's.

    Args:
        trainer: about to train, on one device.
        step: trains on one batch, without autograd, and returns the loss.

    Attributes:
        reason: what in Lightning keeps batches from being taken ahead, all of them then being
            Lightning's; "" where nothing does.
    """

    def __init__(self, trainer: Any, step: Callable[[Any], Tensor]) -> None:
        self.trainer, self.step = trainer, step
        self.loop: Any = trainer.fit_loop.epoch_loop
        self.watch = _ForwardExceptions()
        trainer.callbacks.append(self.watch)
        self.reason = no_fast_loop(trainer)
        if self.reason or _is_watched(trainer):
            return
        self.finite = [c for c in _callbacks(trainer) if isinstance(c, TerminateOnNonFinite)]
        shown = getattr(trainer.progress_bar_callback, "refresh_rate", 1)
        if shown == 1:
            shown = 0  # a bar that shows every batch can wait
        self.every = [n for n in (trainer.log_every_n_steps, shown, *_checkpoints(trainer)) if n]
        self.transfers = _transfers(trainer)
        self.loop.advance = self._advance

    def stop(self) -> None:
        """Give the loop back."""
        self.loop.__dict__.pop("advance", None)
        if self.watch in self.trainer.callbacks:
            self.trainer.callbacks.remove(self.watch)

    def _advance(self, data_fetcher: Any) -> None:
        loop = self.loop
        # The first batch of a resumed run is Lightning's to sort out; and without a length nobody
        # knows which batch is the epoch's last before it is taken.
        if not loop.restarting and _has_length(data_fetcher):
            end = time.monotonic() + MAX_BURST_S
            while self._next_batch_is_unobserved() and time.monotonic() < end:
                self._train(data_fetcher)
                if self.trainer.received_sigterm:
                    raise SIGTERMException  # as Lightning does after a batch
        type(loop).advance(loop, data_fetcher)

    def _next_batch_is_unobserved(self) -> bool:
        """Whether nothing happens after the next batch."""
        loop, trainer = self.loop, self.trainer
        batch, step = loop.batch_progress.current.ready + 1, batches_that_stepped(loop) + 1
        iteration = batch
        if trainer.check_val_every_n_epoch is None:
            iteration = loop.batch_progress.total.ready + 1
        return (
            batch < trainer.num_training_batches
            and not trainer.should_stop
            and all(step % n for n in self.every)
            and all(batch % n for n in _plateaus(trainer))
            and (loop.max_steps == -1 or loop.global_step + 1 < loop.max_steps)
            and (trainer.val_check_batch == math.inf or iteration % trainer.val_check_batch != 0)
        )

    def _train(self, data_fetcher: Any) -> None:
        """One batch, as `advance` takes it, without the hooks that are not overridden."""
        trainer, loop = self.trainer, self.loop
        module = trainer.lightning_module
        batch, _, _ = next(data_fetcher)
        batch = trainer.precision_plugin.convert_input(batch)
        for transfer in self.transfers:
            batch = transfer(batch)
        progress = loop.batch_progress
        progress.is_last_batch = False
        progress.increment_ready()
        progress.increment_started()
        counters = loop.automatic_optimization.optim_progress.optimizer
        accumulates = is_accumulating(loop)
        if not accumulates:
            counters.step.increment_ready()
        loss = self.step(batch)
        if loop.batch_idx % trainer.accumulate_grad_batches == 0:
            counters.zero_grad.increment_ready()
            counters.zero_grad.increment_started()
            counters.zero_grad.increment_completed()
        if not accumulates:
            counters.step.increment_completed()
        progress.increment_processed()
        loop.update_lr_schedulers("step", update_plateau_schedulers=False)
        for callback in self.finite:
            callback.on_train_batch_end(trainer, module, loss, batch, loop.batch_idx)
        progress.increment_completed()
        add_batches_that_stepped(loop, 0 if accumulates else 1)


def _transfers(trainer: Any) -> list[Callable[[Any], Any]]:
    """The way of a batch to the device: of Lightning's hooks, on a CPU, those that do anything."""
    if trainer.strategy.root_device.type != "cpu":
        return [
            partial(before_batch_transfer(trainer.lightning_module), dataloader_idx=0),
            partial(trainer.strategy.batch_to_device, dataloader_idx=0),
        ]
    hooks: list[Callable[[Any], Any]] = []
    for name in ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"):
        owner = owner_of_data_hook(trainer, name)
        if overrides(owner, pl.core.hooks.DataHooks, name):
            device = {"device": trainer.strategy.root_device} if "to_device" in name else {}
            hooks.append(partial(getattr(owner, name), dataloader_idx=0, **device))
    return hooks


def _has_length(data_fetcher: Any) -> bool:
    # Not the fetcher's own: that is the limit where there is one, which a loader may not reach.
    data: Any = pl.utilities.data
    loaders = data_fetcher.combined_loader.flattened
    return all(data.sized_len(loader) is not None for loader in loaders)


def _callbacks(trainer: Any) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = trainer.callbacks
    return callbacks


def _checkpoints(trainer: Any) -> list[int]:
    """After how many steps each checkpoint callback saves; 0 for one that counts no steps."""
    return [
        steps_between_saves(callback)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, pl.callbacks.ModelCheckpoint)
    ]


def _plateaus(trainer: Any) -> list[int]:
    """After how many batches of an epoch each scheduler looks at the figures of that batch."""
    configs = trainer.lr_scheduler_configs
    return [c.frequency for c in configs if c.reduce_on_plateau and c.interval == "step"]


def _is_watched(trainer: Any) -> bool:
    """Whether a callback or the module wants to see every batch."""
    watchers: list[tuple[Any, type]] = [(trainer.lightning_module, pl.LightningModule)]
    for callback in _callbacks(trainer):
        if not getattr(callback, "watches_batches", True):
            continue
        known = (kind for kind in CAN_WAIT if isinstance(callback, kind))
        watchers.append((callback, next(known, pl.Callback)))
    overridden = any(
        overrides(watcher, base, name) for watcher, base in watchers for name in WATCHES_A_BATCH
    )
    profiled = type(trainer.profiler) is not pl.profilers.PassThroughProfiler
    return overridden or goes_by_the_clock(trainer) or profiled


def overrides(watcher: Any, base: type, name: str) -> bool:
    """Whether a method is not that of `base`: its class's own, or the object's."""
    return getattr(getattr(watcher, name), "__func__", None) is not getattr(base, name)


class _ForwardExceptions(pl.Callback):
    """Tells the module of an exception, as Lightning tells callbacks and data."""

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Hand it on."""
        del trainer
        pl_module.on_exception(exception)  # type: ignore[operator]  # Classifier's
