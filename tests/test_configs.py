"""The experiments in configs/: each can be read, and each runs."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from tests import ROOT
from tests.cli.command_line import NO_SUMMARY, newest_run, run

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
NAMES = [str(path.relative_to(ROOT)) for path in CONFIGS]
every_config = pytest.mark.parametrize("name", NAMES)

# What each needs to run here: a folder of full files, or a network.
NEEDS_MNIST = {"configs/mnist.yaml", "configs/mnist_elastic.yaml", "configs/mnist_fast.yaml"}
NEEDS_NETWORK = {"configs/fashion.yaml"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the configurations where the commands look for them."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


def test_all_are_here() -> None:
    """The ones that documents name; a new one is tested by being there."""
    assert set(NAMES) >= {
        "configs/debug/fast_run.yaml",
        "configs/debug/overfit_batch.yaml",
        "configs/embedded.yaml",
        "configs/fashion.yaml",
        "configs/mnist.yaml",
        "configs/mnist_elastic.yaml",
        "configs/mnist_fast.yaml",
        "configs/origin.yaml",
    }


@every_config
def test_first_line_is_the_command(name: str) -> None:
    """Whoever opens the file sees how it is run."""
    first = (ROOT / name).read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# python train.py fit --config {name}"


@every_config
def test_it_can_be_read(folder: Path, name: str) -> None:
    """Every setting is known, and what the file says is what is resolved."""
    code, out, err = run(folder, "fit", "--config", name, "--print_config")
    assert (code, err) == (0, "")
    resolved = yaml.safe_load(out)

    def assert_said(said: object, found: object) -> None:
        if not isinstance(said, dict):
            assert found == said
            return
        assert isinstance(found, dict)
        for key, value in said.items():
            assert_said(value, found[key])

    assert_said(yaml.safe_load((ROOT / name).read_text(encoding="utf-8")), resolved)


def one_batch(folder: Path, name: str, *words: object) -> None:
    """A fast run of a configuration succeeds."""
    result = run(
        folder, "fit", "--config", name, "--trainer.fast_dev_run", "true", *NO_SUMMARY, *words
    )
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    "name",
    [n for n in NAMES if n not in NEEDS_MNIST | NEEDS_NETWORK and n != "configs/origin.yaml"],
)
def test_it_runs_one_batch(folder: Path, name: str) -> None:
    """Through training, validation and test."""
    one_batch(folder, name)


@pytest.mark.parametrize("name", sorted(NEEDS_MNIST))
def test_mnist_runs_one_batch(folder: Path, full_mnist_root: Path, name: str) -> None:
    """The recipes for the full data set, on the full data set."""
    one_batch(folder, name, "--data_root", full_mnist_root)


@pytest.mark.slow
def test_mnist_fast_reaches_98_percent(folder: Path, full_mnist_root: Path) -> None:
    """Three epochs without autograd are 98 % of the test images, by the engine."""
    config = ("--config", "configs/mnist_fast.yaml", "--data_root", full_mnist_root)
    result = run(folder, "fit", *config, *NO_SUMMARY)
    assert result.code == 0, result.err
    found = re.search(r"test accuracy (\d\.\d+) on 10000 test images of MNIST", result.out)
    assert found
    assert float(found[1]) >= 0.98
    assert "trained by autograd" not in result.out


def test_origin_ends_as_it_says(folder: Path) -> None:
    """Exit code 3, at the second descent step, and no accuracy is claimed."""
    code, out, err = run(folder, "fit", "--config", "configs/origin.yaml", *NO_SUMMARY)
    assert code == 3
    assert "test accuracy" not in out
    assert "\nsick: the loss is nan at descent step 2, rate 1.0" in err
    for cause in (
        "init-not-centred, layer 1",
        "unstable-softmax, layer 2",
        "reported-loss-differs",
    ):
        assert f"diagnosis: {cause}" in err
    assert "diagnose --replay" in err


def test_overfit_batch_learns_it_by_heart(folder: Path) -> None:
    """A hundred times the same batch: the training loss is as good as nothing."""
    config = "configs/debug/overfit_batch.yaml"
    result = run(folder, "fit", "--config", config, *NO_SUMMARY)
    assert result.code == 0, result.err
    last = [line for line in result.out.splitlines() if line.startswith("epoch ")][-1]
    assert last.startswith("epoch 99  train_loss ")
    assert float(last.split()[3]) < 0.01
    assert any((newest_run(folder) / "checkpoints").iterdir())


def test_embedded_needs_no_network(folder: Path) -> None:
    """It asks for the digits that ship, so nothing is looked for and nothing warned of."""
    code, out, err = run(
        folder, "--config", "configs/embedded.yaml", "--max_epochs", 1, "--hidden", 8, *NO_SUMMARY
    )
    assert (code, err) == (0, "")
    assert "1000 test images of embedded digits" in out
    state = torch.load(newest_run(folder) / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["datamodule_hyper_parameters"]["source"] == "embedded"
