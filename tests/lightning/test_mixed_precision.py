"""bf16-mixed and 16-mixed under Lightning: the engine's run beside autograd's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.amp import GradScaler

from tests.engine.twins import distance
from tests.lightning.lightning_runs import ignore_lightnings_own, quiet_trainer
from torchmlp import Classifier
from torchmlp._compat.lightning import pl
from torchmlp.data import Batches, load_images

pytestmark = [
    ignore_lightnings_own,
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed from"),
    # What torch says of a scheduler beside a step that the scaler skips.
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step"),
]


class OwnPlugin(pl.plugins.MixedPrecision):
    """Somebody's own."""


def float16(scale: float = 2.0**10, kind: Any = pl.plugins.MixedPrecision) -> Any:
    """16-mixed on a CPU, where Lightning's flag takes bf16-mixed instead."""
    scaler = GradScaler("cpu", init_scale=scale, growth_interval=7)
    return kind("16-mixed", "cpu", scaler=scaler)


def settings_of(precision: str, scale: float = 2.0**10) -> dict[str, Any]:
    return {"plugins": float16(scale)} if precision == "16-mixed" else {"precision": precision}


def train(
    folder: Path, engine: str, ckpt_path: Any = None, **settings: Any
) -> tuple[Classifier, pl.Trainer]:
    """Two epochs over thirty batches of four, the last a short one."""
    torch.manual_seed(3)
    # Without kinks: one rounding at ReLU's, and the two are other runs.
    model = Classifier(15, [8], 4, "tanh", engine=engine)  # type: ignore[arg-type]
    trainer = quiet_trainer(folder, **{"max_epochs": 2, "log_every_n_steps": 10, **settings})
    pixels = torch.randint(256, (119, 3, 5), dtype=torch.uint8)
    loader = Batches(pixels, torch.arange(119) % 4, 4)
    trainer.fit(model, loader, Batches(pixels, torch.arange(119) % 4, 50), ckpt_path=ckpt_path)
    return model, trainer


def parameters(model: Classifier) -> list[torch.Tensor]:
    return [p.detach() for p in model.parameters()]


def state_of(trainer: pl.Trainer) -> dict[str, Any]:
    return trainer.precision_plugin.state_dict()


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_the_engines_run_is_autograds(tmp_path: Path, precision: str) -> None:
    """The same float32 weights to 16 bits' rounding, the same figures, the same scale."""
    (mine, own), (theirs, other) = (
        train(tmp_path, engine, **settings_of(precision)) for engine in ("fused", "autograd")
    )
    dtype = {"bf16-mixed": "bfloat16", "16-mixed": "float16"}[precision]
    assert mine.trained_by == f"the engine: torch's operators (products in torch.{dtype})"
    assert theirs.trained_by == "autograd (engine=autograd)"
    assert {p.dtype for p in mine.parameters()} == {torch.float32}
    tolerance = {"bf16-mixed": 5e-3, "16-mixed": 1e-3}[precision]
    assert distance(parameters(mine), parameters(theirs)) < tolerance
    assert own.global_step == other.global_step == 60
    for name, value in other.callback_metrics.items():
        assert float(own.callback_metrics[name]) == pytest.approx(float(value), rel=1e-2), name
    assert state_of(own) == state_of(other)
    assert bool(state_of(own)) == (precision == "16-mixed")


def test_steps_that_overflow_are_skipped_alike(tmp_path: Path) -> None:
    """From a scale that float16 cannot hold: halved as often, with autograd's weights."""
    (mine, own), (theirs, other) = (
        train(tmp_path, engine, plugins=float16(2.0**24)) for engine in ("fused", "autograd")
    )
    assert state_of(own) == state_of(other)
    assert state_of(own)["scale"] < 2.0**24
    assert distance(parameters(mine), parameters(theirs)) < 2e-3


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_resumed_run_is_the_run(tmp_path: Path, precision: str) -> None:
    """To the last bit of weights and scale; the scaler's state lies in the checkpoint where
    Lightning's plugin keeps it."""

    def run(folder: Path, ckpt_path: Any = None) -> tuple[Classifier, pl.Trainer]:
        saves = pl.callbacks.ModelCheckpoint(
            folder, filename="{step}", every_n_epochs=1, save_top_k=-1
        )
        settings = {"enable_checkpointing": True, "callbacks": [saves], **settings_of(precision)}
        return train(folder, "fused", ckpt_path, **settings)

    whole, trainer = run(tmp_path / "whole")
    path = tmp_path / "whole" / "step=30.ckpt"
    kept = torch.load(path, weights_only=True).get("MixedPrecision", {})
    rest, again = run(tmp_path / "rest", path)
    assert all(a.equal(b) for a, b in zip(parameters(whole), parameters(rest), strict=True))
    assert state_of(trainer) == state_of(again)
    if precision == "16-mixed":
        assert kept["scale"] == 2.0**14  # after four times seven steps
        assert state_of(trainer)["scale"] > kept["scale"]


def test_accuracy_is_autograds(tmp_path: Path) -> None:
    """Of a short run on the digits that ship: the same share of the test images, to two in a
    hundred."""
    images = load_images("mnist", tmp_path, "embedded", download=False)
    found = []
    for engine in ("fused", "autograd"):
        torch.manual_seed(1)
        model = Classifier(hidden=[32], engine=engine)
        trainer = quiet_trainer(tmp_path, max_epochs=2, precision="bf16-mixed")
        loader = Batches(images.train_images, images.train_labels, 128, shuffle=True, seed=1)
        trainer.fit(model, loader)
        right = model(images.test_images).argmax(-1) == images.test_labels
        found.append(float(right.float().mean()))
    assert found[0] == pytest.approx(found[1], abs=0.02)
    assert found[0] > 0.8


def to_double(model: Classifier) -> Classifier:
    model.mlp.double()
    return model


@pytest.mark.parametrize("case", ["a plugin of one's own", "float64 parameters"])
def test_what_is_left_to_autograd(tmp_path: Path, case: str) -> None:
    """A subclass of Lightning's plugin may do anything; and autocast leaves float64 alone."""
    model = Classifier(in_features=15, hidden=[8], out_features=4)
    plugin: pl.plugins.MixedPrecision = OwnPlugin("bf16-mixed", "cpu")
    if case == "float64 parameters":
        to_double(model)
        plugin = pl.plugins.MixedPrecision("bf16-mixed", "cpu")
    trainer = quiet_trainer(tmp_path, max_epochs=1, plugins=plugin)
    pixels = torch.randint(256, (40, 3, 5), dtype=torch.uint8)
    trainer.fit(model, Batches(pixels, torch.arange(40) % 4, 4))
    assert model.trained_by.startswith("autograd (precision bf16-mixed")
    assert ("float64" in model.trained_by) == (case == "float64 parameters")
