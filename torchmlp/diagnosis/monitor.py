"""The diagnosis of a run under Lightning while it trains."""

import math
import sys
import time
from collections.abc import Callable
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchmlp._compat.lightning import pl
from torchmlp._runtime.atomic_file import write_atomically
from torchmlp._runtime.sealed_file import save_sealed
from torchmlp.diagnosis.diagnose import start_record
from torchmlp.diagnosis.measure.history import (
    LossHistory,
    SamplingSchedule,
    keep,
    sample_buffers,
)
from torchmlp.diagnosis.measure.layer_statistics import sample_layers
from torchmlp.diagnosis.measure.nonfinite import locate
from torchmlp.diagnosis.measure.start import score_of
from torchmlp.diagnosis.record.record import NonFinite, Record
from torchmlp.diagnosis.report.report import Report
from torchmlp.diagnosis.run.batches import read_batches
from torchmlp.diagnosis.run.lightning_adapter import run_of
from torchmlp.diagnosis.run.run import Batch, CannotDiagnoseError, TrainingRun
from torchmlp.diagnosis.run.snapshot import random_state_restored, restored_afterwards
from torchmlp.diagnosis.trace.layers import find_layers
from torchmlp.diagnosis.trace.trace import Trace
from torchmlp.engine import Engine
from torchmlp.lightning.callbacks.terminate_on_nonfinite import NonFiniteLossError, of_loss

LOOKED_AT = 1000  # samples of the data, before the first step
RECORD, BROKEN = "diagnosis.json", "broken.pt"


class HealthMonitor(pl.Callback):
    """Watches a run of any LightningModule, and says what is wrong with it.

    Before the first step it looks at data, design and initial weights; during the run it takes
    samples of the layers, in at most a fiftieth of the run's time; after it, it judges. What is a
    mistake in any case is told before the first step, the rest at the end. A loss that is nan or
    infinite ends the run before an update is made of it: the batch, the weights and the state of
    torch's generator are saved as `broken.pt` in the logger's folder, and every run's diagnosis as
    `diagnosis.json`.

    Args:
        tell: is given each line; None prints it to the standard error.

    Attributes:
        report: the diagnosis, once the run has ended; None where it could not be made.
        reason: why it could not; "" where it could.
        broken: the file of the step that broke, or None.

    Not supported: several processes; batches that are not a pair of tensors.
    """

    watches_batches = False  # the engine shows it what it wants to see

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.tell = tell or _tell
        self.report: Report | None = None
        self.reason = ""
        self.broken: Path | None = None
        self._run: TrainingRun | None = None
        self._record: Record | None = None
        self._sampler: _Sampler | None = None
        self._adapter: Any = None
        self._clock, self._losses = SamplingSchedule(), LossHistory([])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the data, the design and the weights."""
        self._clock, self.report, self.reason = SamplingSchedule(), None, ""
        self._run = self._record = self._sampler = self._adapter = None
        try:
            # Loaders draw orders, and transforms what they do.
            with random_state_restored():
                batches = _first_batches(trainer)
            optimizers: Any = trainer.optimizers
            run = run_of(pl_module, batches, optimizers, is_live=True)
            with restored_afterwards(run.model, run.optimizer) as start:
                record = start_record(run, start, _steps_of(trainer), is_live=True)
        except CannotDiagnoseError as error:
            self.reason = str(error)
            return
        self._run = run
        self.watch(record)
        for finding in Report.of(record).findings:
            if finding.certain:
                self.tell(f"diagnosis: {finding}")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Observe the steps, the engine's or autograd's."""
        if self._record is None or self._sampler or self._adapter:
            return
        self._adapter = getattr(pl_module, "engine_adapter", None)
        if self._adapter is not None:
            self._adapter.watcher = self.see_engine
        else:
            self._sampler = _Sampler(self._record, self._clock, self._losses)
            _callbacks(trainer).append(self._sampler)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the run."""
        del pl_module
        self._leave(trainer)
        self._judge(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save the step that broke, and judge."""
        last = self._last()
        self._leave(trainer)
        if not isinstance(exception, NonFiniteLossError):
            return
        if last is not None and self._record is not None and self._run is not None:
            batch, state = last
            self._save(trainer, pl_module, batch, state)
            self._record.nonfinite = self._locate(batch, state)
        self._judge(trainer)
        self._add_notes(exception)

    def watch(self, record: Record) -> None:
        """Write into `record` what is seen from now on."""
        self._record, self._losses = record, LossHistory(record.losses)

    def see_engine(self, engine: Engine, loss: Tensor) -> None:
        """A step that the engine has taken, and its loss."""
        on_cpu = not loss.is_cuda
        if on_cpu:
            self._losses.add(float(loss))
        if not self._clock.is_due() or self._record is None:
            return
        start = time.perf_counter()
        keep(self._record, self._clock.step, sample_buffers(engine.layers))
        if not on_cpu:
            self._losses.add(float(loss))
        self._clock.took(time.perf_counter() - start)

    def _last(self) -> tuple[Batch, Tensor | None] | None:
        if self._adapter is not None:
            last: tuple[Batch, Tensor | None] | None = self._adapter.last
            return last
        return self._sampler.last if self._sampler else None

    def _leave(self, trainer: pl.Trainer) -> None:
        if self._adapter is not None:
            self._adapter.watcher = None
        if self._sampler is not None:
            self._sampler.close()
            if self._sampler in _callbacks(trainer):
                _callbacks(trainer).remove(self._sampler)

    def _locate(self, batch: Batch, state: Tensor | None) -> NonFinite | None:
        assert self._run is not None
        run = self._run
        with restored_afterwards(run.model, run.optimizer):
            run.model.train()
            if state is not None:
                torch.set_rng_state(state)
            found = locate(run, batch, max(self._clock.step, 0))
        return found or NonFinite(max(self._clock.step, 0), None, "loss", "", "nan")

    def _save(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, state: Tensor | None
    ) -> None:
        if not trainer.loggers or trainer.log_dir is None:
            return
        folder = Path(trainer.log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.broken = folder / BROKEN
        save_sealed(
            {
                "state_dict": module.state_dict(),
                "batch": list(batch),
                "rng": torch.get_rng_state() if state is None else state,
                "step": max(self._clock.step, 0),
            },
            self.broken,
        )

    def _judge(self, trainer: pl.Trainer) -> None:
        record, run = self._record, self._run
        if record is None or run is None:
            return
        if record.nonfinite is None:
            with restored_afterwards(run.model, run.optimizer):
                record.score = score_of(run, record)
        self.report = Report.of(record)
        if trainer.loggers and trainer.log_dir is not None and trainer.is_global_zero:
            folder = Path(trainer.log_dir)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / RECORD, self.report.to_json() + "\n")

    def _add_notes(self, exception: BaseException) -> None:
        if self.report is not None:
            for finding in self.report.findings[:3]:
                exception.add_note(f"diagnosis: {finding}")
        if self.broken is not None:
            again = f"python train.py diagnose --replay {self.broken}"
            exception.add_note(f"the step, saved before its update: {again}")


class _Sampler(pl.Callback):
    """Sees the steps that autograd takes."""

    def __init__(self, record: Record, clock: SamplingSchedule, losses: LossHistory) -> None:
        self.record, self.clock, self.losses = record, clock, losses
        self.last: tuple[Batch, Tensor | None] | None = None
        self.trace: Trace | None = None
        self.start = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep what a replay needs; where the step is looked at, record its functions."""
        del trainer, batch_idx
        self.close()
        self.last = (batch[0], batch[1]), torch.get_rng_state()
        if self.clock.is_due():
            self.start = time.perf_counter()
            self.trace = Trace(pl_module)
            self.trace.__enter__()

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Sample the layers; stop before anything is computed from a loss that is not finite."""
        trace = self.trace
        self.close()
        if trace is not None:
            found = find_layers(trace.calls)
            parameters = dict(pl_module.named_parameters())
            weights = [parameters[traced.call.weight] for traced in found]
            assert self.last is not None
            layers, _ = sample_layers(found, loss, len(self.last[0][0]), weights)
            keep(self.record, self.clock.step, layers)
        if trace is None and loss.is_cuda:
            return
        value = float(loss.detach())
        self.losses.add(value)
        if trace is not None:
            self.clock.took(time.perf_counter() - self.start)
        if not math.isfinite(value):
            raise of_loss(loss.detach(), trainer, pl_module, self.last and self.last[0])

    def close(self) -> None:
        """Record no further functions."""
        if self.trace is not None:
            self.trace.__exit__(None, None, None)
            self.trace = None


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201  what it was asked for


def _callbacks(trainer: Any) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = trainer.callbacks
    return callbacks


def _steps_of(trainer: Any) -> int:
    return int(min(trainer.estimated_stepping_batches, 1e9))  # infinite, for a run without an end


def _first_batches(trainer: Any) -> list[Batch]:
    """The first batches of a run, as its training step gets them.

    Raises:
        CannotDiagnoseError: there are several processes or loaders, or a batch is no pair.
    """
    loader = trainer.train_dataloader
    if trainer.world_size > 1:
        raise CannotDiagnoseError("several processes train, expected one")
    if getattr(loader, "num_workers", 0) or loader is None:
        raise CannotDiagnoseError("batches come from worker processes, expected this one's")
    batches, count = [], 0
    # A copy: a loader may count how often it has been gone through.
    for batch in islice(iter(copy(loader)), 200):
        pair = read_batches([batch], None, 1)[0]
        pair = trainer.precision_plugin.convert_input(pair)
        batches.append(tuple(trainer.strategy.batch_to_device(pair, dataloader_idx=0)))
        count += len(pair[0])
        if count >= LOOKED_AT:
            break
    return read_batches(batches, None, len(batches))
