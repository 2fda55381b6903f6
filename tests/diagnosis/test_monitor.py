"""HealthMonitor under Lightning: it changes nothing, tells, and keeps the step that broke."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from torchmlp import Classifier
from torchmlp._compat.lightning import pl
from torchmlp.data import Batches
from torchmlp.diagnosis.measure.nonfinite import locate
from torchmlp.diagnosis.monitor import HealthMonitor
from torchmlp.diagnosis.report.report import Report
from torchmlp.diagnosis.run.lightning_adapter import run_of
from torchmlp.lightning.callbacks.terminate_on_nonfinite import (
    NonFiniteLossError,
    TerminateOnNonFinite,
)


def blobs(count: int = 256, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Four well separated blobs in eight dimensions."""
    torch.manual_seed(3)
    labels = torch.arange(count) % 4
    return scale * (3 * torch.eye(8)[labels] + torch.randn(count, 8)), labels


def fit(
    module: pl.LightningModule,
    folder: Path,
    *callbacks: pl.Callback,
    data: tuple[Tensor, Tensor] | None = None,
    epochs: int = 2,
) -> None:
    """Train on the blobs in batches of 16, with a CSV logger in `folder`."""
    x, labels = data or blobs()
    loader: Any = DataLoader(TensorDataset(x, labels), 16)
    if bool(torch.isfinite(x).all()):
        loader = Batches(x, labels, 16, shuffle=True)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=pl.loggers.CSVLogger(folder),
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=4,
    )
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, loader)


def classifier(**settings: Any) -> Classifier:
    """A small one, from a seed."""
    torch.manual_seed(2)
    return Classifier(8, (16,), 4, **{"dropout": 0.2, **settings})


class Plain(pl.LightningModule):
    """Somebody's module: its own network, training step and optimizer."""

    def __init__(self, network: nn.Module, rate: float = 0.1) -> None:
        super().__init__()
        self.network, self.rate = network, rate

    def forward(self, x: Tensor) -> Tensor:
        """The network's output."""
        output: Tensor = self.network(x)
        return output

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-entropy, logged."""
        loss = cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain descent."""
        return torch.optim.SGD(self.parameters(), lr=self.rate)


def network(*last: nn.Module) -> nn.Sequential:
    """Two layers, and what is put behind them."""
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), *last)


def saved(folder: Path) -> Path:
    """The only file of this name below a folder."""
    (path,) = folder.rglob("diagnosis.json")
    return path


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_a_watched_run_is_the_same_run(tmp_path: Path, engine: str) -> None:
    """With dropout and shuffled batches, the weights are the same to the last bit."""
    watched, alone = classifier(engine=engine), classifier(engine=engine)
    monitor = HealthMonitor()
    fit(watched, tmp_path / "a", monitor)
    fit(alone, tmp_path / "b")
    assert monitor.report is not None
    for mine, theirs in zip(watched.parameters(), alone.parameters(), strict=True):
        assert mine.equal(theirs)


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_a_healthy_run_is_quiet(tmp_path: Path, engine: str) -> None:
    """No finding, nothing told; the record holds losses and samples of every layer."""
    told: list[str] = []
    monitor = HealthMonitor(told.append)
    fit(classifier(engine=engine), tmp_path, monitor, epochs=6)
    report = monitor.report
    assert report is not None
    assert report.healthy
    assert told == []
    assert len(report.record.losses) == 6 * 16
    assert report.record.losses[-1] < 0.7 * report.record.losses[0]
    assert len(report.record.samples) >= 5
    for sample in report.record.samples:
        assert [layer.delta_rms is not None for layer in sample.layers] == [True, True]
        assert sample.layers[0].saturated is not None
        assert 0 < sample.layers[0].saturated < 1


def test_engine_and_autograd_measure_the_same(tmp_path: Path) -> None:
    """What the engine's buffers hold is what autograd gives: the same run, the same statistics."""
    records = []
    for engine in ("fused", "autograd"):
        monitor = HealthMonitor()
        fit(classifier(engine=engine, dropout=0.0), tmp_path / engine, monitor, epochs=1)
        assert monitor.report is not None
        records.append(monitor.report.record)
    fused, autograd = (record.samples[0].layers for record in records)
    for mine, theirs in zip(fused, autograd, strict=True):
        for name in ("a_rms", "between_sample_variance", "delta_rms"):
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=1e-4), name
    assert fused[0].saturated == pytest.approx(autograd[0].saturated)


def test_any_module_is_watched(tmp_path: Path) -> None:
    """A module that knows nothing of this package; its logging is left alone."""
    monitor = HealthMonitor()
    module = Plain(network())
    fit(module, tmp_path, monitor, epochs=6)
    assert monitor.report is not None, monitor.reason
    assert monitor.report.healthy
    assert [layer.activation for layer in monitor.report.record.layers] == ["relu", "identity"]
    assert "log" not in vars(module)


def test_a_mistake_is_told_before_the_first_step(tmp_path: Path) -> None:
    """Softmax before cross-entropy, while no step has been taken."""
    steps: list[int] = []
    told: list[tuple[str, int]] = []

    class Counts(Plain):
        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            steps.append(1)
            super().optimizer_step(*args, **kwargs)

    monitor = HealthMonitor(lambda line: told.append((line, len(steps))))
    fit(Counts(network(nn.Softmax(1))), tmp_path, monitor)
    ((line, when),) = told
    assert line.startswith("diagnosis: output-loss-mismatch, layer 2")
    assert when == 0
    assert len(steps) == 32
    report = Report.from_json(saved(tmp_path).read_text(encoding="utf-8"))
    assert report.findings[0].cause == "output-loss-mismatch"


@pytest.mark.parametrize(
    "module",
    [
        lambda: classifier(engine="fused"),
        lambda: classifier(engine="autograd"),
        lambda: Plain(network(), rate=1e19),
    ],
    ids=["fused", "autograd", "plain"],
)
def test_a_run_that_breaks_keeps_its_last_step(tmp_path: Path, module: Any) -> None:
    """broken.pt holds batch, weights before it and generator: one step gives nan or inf again."""
    watched = module()
    if isinstance(watched, Classifier):
        watched.configure_optimizers = lambda: torch.optim.SGD(watched.parameters(), lr=1e19)  # type: ignore[method-assign]
    monitor = HealthMonitor(lambda _line: None)
    with pytest.raises(NonFiniteLossError) as raised:
        fit(watched, tmp_path, TerminateOnNonFinite(), monitor)
    assert monitor.broken is not None
    state = torch.load(monitor.broken, weights_only=True)
    fresh = module()
    fresh.load_state_dict(state["state_dict"])
    batch = tuple(state["batch"])
    optimizer = torch.optim.SGD(fresh.parameters(), lr=0.1)
    subject = run_of(fresh, [batch], optimizer)
    subject.model.train()
    torch.set_rng_state(state["rng"])
    found = locate(subject, batch, state["step"])
    assert found is not None
    assert found.step == state["step"] > 0
    assert monitor.report is not None
    assert monitor.report.record.nonfinite is not None
    assert not monitor.report.healthy
    notes = "\n".join(raised.value.__notes__)
    assert "diagnosis: learning-rate-too-high" in notes
    assert f"--replay {monitor.broken}" in notes


def test_nan_in_the_data_is_named(tmp_path: Path) -> None:
    """Before the first step, with its share, though the run would have met it later."""
    x, labels = blobs()
    x[200, 3] = math.nan
    told: list[str] = []
    with pytest.raises(NonFiniteLossError):
        fit(Plain(network()), tmp_path, HealthMonitor(told.append), data=(x, labels))
    assert told[0].startswith("diagnosis: input-non-finite")


def test_an_error_in_a_step_leaves_no_mode_behind(tmp_path: Path) -> None:
    """After the user's own exception, torch's functions are nobody's to see."""

    class Breaks(Plain):
        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            loss = super().training_step(batch)
            if self.trainer.global_step == 4:
                raise RuntimeError("mine")
            return loss

    before = torch._C._len_torch_function_stack()
    with pytest.raises(RuntimeError, match="mine"):
        fit(Breaks(network()), tmp_path, HealthMonitor(lambda _line: None))
    assert torch._C._len_torch_function_stack() == before


def test_what_cannot_be_watched_says_why(tmp_path: Path) -> None:
    """A loop of its own without parts(): trained as ever, with a reason and no report."""

    class Manual(Plain):
        def __init__(self) -> None:
            super().__init__(network())
            self.automatic_optimization = False

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            loss = cross_entropy(self(batch[0]), batch[1])
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            return loss

    monitor = HealthMonitor()
    fit(Manual(), tmp_path, monitor)
    assert monitor.report is None
    assert "parts()" in monitor.reason
    assert not list(tmp_path.rglob("diagnosis.json"))
