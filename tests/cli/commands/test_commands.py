import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests import ROOT
from tests.cli.command_line import SMALL, Result, newest_run, run, start, wait_for
from torchmlp.cli.parsing.arguments import SHORT_FLAGS
from torchmlp.cli.running.configured_run import ConfiguredRun
from torchmlp.data import EmbeddedDataWarning, import_torchvision, read_embedded
from torchmlp.lightning.checkpoints.files import find_checkpoint

ACCURACY = re.compile(r"^test accuracy (0\.\d{4}) on (.*)$", re.MULTILINE)


def accuracy_of(result: Result) -> str:
    """The figure that a command printed."""
    assert result.code == 0, result.err
    (found,) = ACCURACY.findall(result.out)
    figure: str = found[0]
    return figure


def config_of(folder: Path, *words: object) -> dict[str, Any]:
    """The resolved configuration of a command line."""
    code, out, err = run(folder, *words, "--print_config")
    assert (code, err) == (0, "")
    config: dict[str, Any] = yaml.safe_load(out)
    return config


def fit_accuracy(folder: Path) -> str:
    """The figure that the run in `digits_run` printed."""
    return accuracy_of(Result(0, (folder / "fit.txt").read_text(encoding="utf-8"), ""))


@pytest.mark.slow
def test_train_py_alone(tmp_path: Path) -> None:
    """`python train.py` and nothing else, without data and without a network: it says loudly what
    it trains on instead, ends with 0 and the test accuracy, and names files that are there."""
    code, out, err = wait_for(start(tmp_path), 300)
    assert code == 0, err
    assert err.startswith(
        "warning: NOT THE FULL MNIST: using the embedded digits, a 6000-image sub"
    )
    assert err.count("warning:") == 1
    assert "Traceback" not in err
    ((accuracy, data),) = ACCURACY.findall(out)
    assert data == "1000 test images of embedded digits, a 6000-image subset of MNIST"
    assert float(accuracy) > 0.9
    (checkpoint,) = re.findall(r"^checkpoint (\S+)$", out, re.MULTILINE)
    assert (tmp_path / checkpoint).is_file()
    ((logs, listed),) = re.findall(r"^logs (\S+) \((.*)\)$", out, re.MULTILINE)
    assert {"config.yaml", "metrics.csv", "summary.json"} <= set(listed.split(", "))
    assert all((tmp_path / logs / name).is_file() for name in listed.split(", "))
    assert len([line for line in out.splitlines() if line.startswith("epoch ")]) == 20


def test_what_was_really_used_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that asked for "auto" and fell back says "embedded" in the summary, the settings, the
    saved configuration and the checkpoint."""
    monkeypatch.setattr(import_torchvision().datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    words = [*SMALL, "--data.source", "auto"]
    with pytest.raises(EmbeddedDataWarning, match="NOT THE FULL MNIST"):
        run(tmp_path, *words)
    result = run(tmp_path, *words, warnings_are_errors=False)
    assert result.code == 0, result.err
    assert result.err.count("warning: NOT THE FULL MNIST") == 1
    folder, title = newest_run(tmp_path), read_embedded().title
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (summary["data"], summary["source"]) == (title, "embedded")
    settings = yaml.unsafe_load((folder / "hparams.yaml").read_text(encoding="utf-8"))
    assert (settings["data"], settings["source"]) == (title, "embedded")
    saved = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert saved["data"]["init_args"]["source"] == "embedded"
    checkpoint = torch.load(find_checkpoint("best", folder.parent), weights_only=True)
    assert checkpoint["datamodule_hyper_parameters"]["source"] == "embedded"


def test_a_run_leaves_a_summary(digits_run: Path) -> None:
    """What it was measured on, what it reached, how long it took, where its best checkpoint is."""
    path = digits_run / "lightning_logs" / "version_0" / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    assert f"{summary['test_accuracy']:.4f}" == fit_accuracy(digits_run)
    assert (summary["epochs"], summary["steps"]) == (2, 18)
    assert (digits_run / summary["checkpoint"]).is_file()
    assert summary["torch"] == torch.__version__
    assert summary["device"] in ("cpu", "cuda:0")
    assert summary["test_loss"] > 0
    assert summary["training_seconds"] > 0


def test_a_run_prints_a_line_per_epoch(digits_run: Path) -> None:
    """Then the figures, the checkpoint and the logs; nothing else."""
    kinds = [line.split(" ")[0] for line in (digits_run / "fit.txt").read_text().splitlines()]
    assert kinds == ["epoch", "epoch", "test", "test", "checkpoint", "logs"]


def test_the_metrics_of_a_run_are_a_table(digits_run: Path) -> None:
    """metrics.csv has the loss and accuracy of both parts, by epoch."""
    with (digits_run / "lightning_logs" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        assert [row["epoch"] for row in rows if row[name]] == ["0", "1"]


def test_short_flags_reach_their_setting(tmp_path: Path) -> None:
    """Each of the eleven, seen in the resolved configuration."""
    values = {
        "--accelerator": "cpu",
        "--devices": "1",
        "--precision": "64-true",
        "--max_epochs": "7",
        "--batch_size": "77",
        "--lr": "0.0625",
        "--hidden": "[33]",
        "--activation": "gelu",
        "--init": "lecun",
        "--seed": "5",
        "--data_root": "elsewhere",
    }
    assert values.keys() == SHORT_FLAGS.keys()
    config = config_of(tmp_path, *(word for pair in values.items() for word in pair))
    for short, value in values.items():
        section, _, name = SHORT_FLAGS[short].lstrip("-").partition(".")
        found = config[section]
        if name:
            found = found.get("init_args", found)[name]
        if short == "--devices":  # Lightning takes "1" for 1
            found = int(found)
        assert found == yaml.safe_load(value), short


def test_two_hidden_layers(tmp_path: Path) -> None:
    """`--hidden 512 256` is two layers; `--hidden 16` is one."""
    both = config_of(tmp_path, "--hidden", 512, 256, "--lr", 0.1)
    assert both["model"]["init_args"]["hidden"] == [512, 256]
    assert config_of(tmp_path, "--hidden", 16)["model"]["init_args"]["hidden"] == [16]


def test_the_later_configuration_wins(tmp_path: Path) -> None:
    """Several add up; where two of them differ the later one counts, and a flag over both."""
    for name, width, rate in (("a", 11, "lr: 0.5"), ("b", 22, "momentum: 0.25")):
        (tmp_path / f"{name}.yaml").write_text(
            f"model:\n  init_args:\n    hidden: [{width}]\noptimizer:\n  init_args:\n    {rate}\n"
        )
    config = config_of(tmp_path, "--config", "a.yaml", "--config", "b.yaml", "--lr", 0.75)
    assert config["model"]["init_args"]["hidden"] == [22]
    assert config["optimizer"]["init_args"]["momentum"] == 0.25
    assert config["optimizer"]["init_args"]["lr"] == 0.75
    other_way = config_of(tmp_path, "--config", "b.yaml", "--config", "a.yaml")
    assert other_way["model"]["init_args"]["hidden"] == [11]
    assert other_way["optimizer"]["init_args"]["lr"] == 0.5


def test_the_data_tell_the_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network left at its defaults gets the pixels and classes of the data set it is to learn:
    256 for USPS, 26 classes for letters. What is given is kept."""
    made: list[tuple[int, int]] = []

    def look(self: Any, **_: Any) -> None:
        made.append((self.model.mlp.in_features, self.model.mlp.out_features))
        raise KeyboardInterrupt

    monkeypatch.setattr(ConfiguredRun, "instantiate_trainer", look)

    def sizes(*words: str) -> tuple[int, int]:
        assert run(tmp_path, *words) == (130, "", "interrupted before training began\n")
        return made[-1]

    assert sizes() == (784, 10)
    assert sizes("--data.dataset", "usps") == (256, 10)
    assert sizes("--data.dataset", "emnist_letters") == (784, 26)
    assert sizes("--data.dataset", "usps", "--model.out_features", "12") == (256, 12)


def test_a_saved_configuration_is_the_run_again(digits_run: Path, tmp_path: Path) -> None:
    """With nothing but config.yaml, elsewhere, the same test figures to the last digit."""
    saved = digits_run / "lightning_logs" / "version_0" / "config.yaml"
    result = run(tmp_path, "--config", saved)
    assert accuracy_of(result) == fit_accuracy(digits_run)
    once, again = (
        json.loads((newest_run(folder) / "summary.json").read_text())
        for folder in (digits_run, tmp_path)
    )
    assert once["test_loss"] == again["test_loss"]


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    """The same seed gives the same loss, another one another."""
    losses = []
    for seed in (1, 1, 2):
        assert run(tmp_path, *SMALL, "--seed", seed).code == 0
        summary = json.loads((newest_run(tmp_path) / "summary.json").read_text())
        losses.append(summary["test_loss"])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("which", ["best", "file", "file=", "with config before", "config after"])
def test_a_checkpoint_is_measured_as_fit_measured_it(own_run: Path, which: str) -> None:
    """`test` gives the figure of the fit, the settings being the checkpoint's; also beside a saved
    configuration, whose null for the checkpoint the flag overrules."""
    path = str(find_checkpoint("best", own_run / "lightning_logs"))
    saved = str(own_run / "lightning_logs" / "version_0" / "config.yaml")
    words = {
        "best": ["--ckpt_path", "best"],
        "file": ["--ckpt_path", path],
        "file=": [f"--ckpt_path={path}"],
        "with config before": ["--config", saved, "--ckpt_path", "best"],
        "config after": ["--ckpt_path", path, "--config", saved],
    }[which]
    assert accuracy_of(run(own_run, "test", *words)) == fit_accuracy(own_run)


def test_a_flag_against_the_checkpoint_is_refused(own_run: Path) -> None:
    """Another width would silently lose to the checkpoint's own, which may be named."""
    result = run(own_run, "test", "--ckpt_path", "best", "--hidden", 9)
    assert result.code == 2
    assert "--model.hidden: the checkpoint is of another shape" in result.err
    assert "got [9]" in result.err
    result = run(own_run, "test", "--ckpt_path", "best", "--hidden", 8)
    assert accuracy_of(result) == fit_accuracy(own_run)


def test_data_flags_do_not_make_a_checkpoint_forget_its_data(own_run: Path) -> None:
    """With a flag on something else of the data, the data set is still the checkpoint's."""
    result = run(own_run, "test", "--ckpt_path", "best", "--data_root", "elsewhere")
    assert accuracy_of(result) == fit_accuracy(own_run)
    assert "embedded digits" in result.out


def test_steps_are_not_cut_by_the_default_epochs(tmp_path: Path) -> None:
    """Who asks for max_steps gets them, also where they are more than twenty epochs."""
    flags = ["--data.source", "embedded", "--hidden", 4, "--batch_size", 4500]
    result = run(tmp_path, *flags, "--trainer.max_steps", 25)
    assert result.code == 0
    summary = tmp_path / "lightning_logs" / "version_0" / "summary.json"
    assert json.loads(summary.read_text(encoding="utf-8"))["steps"] == 25


def test_one_width_of_another_model(tmp_path: Path) -> None:
    """`--model.hidden 100` stays a number: the origin's network takes one."""
    origin = ROOT / "configs" / "origin.yaml"
    config = config_of(tmp_path, "--config", origin, "--model.hidden", 100)
    assert config["model"]["init_args"]["hidden"] == 100


def test_a_checkpoint_brings_its_data(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no flag names the data, they are those it was trained on: nobody looks for MNIST."""
    monkeypatch.setattr(import_torchvision().datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    result = run(own_run, "test", "--ckpt_path", "best")
    assert "1000 test images of embedded digits" in result.out
    assert result.err == ""


def test_last_is_the_last_epoch(own_run: Path) -> None:
    """And not the last that was better than all before."""
    last = torch.load(find_checkpoint("last", own_run / "lightning_logs"), weights_only=True)
    assert (last["epoch"], last["global_step"]) == (1, 18)
    assert run(own_run, "test", "--ckpt_path", "last").code == 0


def test_validate(own_run: Path) -> None:
    """The figures are those of the held out images at the best epoch."""
    result = run(own_run, "validate", "--ckpt_path", "best")
    assert result.code == 0, result.err
    (name,) = (path.name for path in (own_run / "lightning_logs").glob("*/checkpoints/best*"))
    (best,) = re.findall(r"val_accuracy=(0\.\d{4})", name)
    assert f"val accuracy {best} on 500 validation images of embedded digits" in result.out


def test_predict_writes_probabilities(own_run: Path) -> None:
    """One row per test image, in order: a class, and ten probabilities that sum to 1; the share of
    right ones is the test accuracy."""
    result = run(own_run, "predict", "--ckpt_path", "best")
    assert result.code == 0, result.err
    (name,) = re.findall(r"^predictions (\S+) \(1000 test images of", result.out, re.MULTILINE)
    with (own_run / name).open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["index", "prediction", *(f"p({k})" for k in range(10))]
    assert [row[0] for row in rows] == [str(k) for k in range(1000)]
    p = torch.tensor([[float(value) for value in row[2:]] for row in rows])
    assert ((p >= 0) & (p <= 1)).all()
    torch.testing.assert_close(p.sum(-1), torch.ones(1000), rtol=0, atol=1e-5)
    guesses = torch.tensor([int(row[1]) for row in rows])
    assert guesses.equal(p.argmax(-1))
    accuracy = (guesses == read_embedded().test_labels).float().mean()
    assert f"{accuracy:.4f}" == fit_accuracy(own_run)


def test_a_fast_run_leaves_nothing(tmp_path: Path) -> None:
    """fast_dev_run goes through all stages and writes no file."""
    code, out, err = run(tmp_path, *SMALL, "--trainer.fast_dev_run", "true")
    assert (code, err) == (0, "")
    assert out.endswith("fast run: one batch through every stage; nothing was written\n")
    assert list(tmp_path.iterdir()) == []


def test_without_held_out_images(tmp_path: Path) -> None:
    """val_size 0 trains on everything, keeps the newest checkpoint as the best, and tests it."""
    result = run(tmp_path, *SMALL, "--data.val_size", 0)
    accuracy_of(result)
    assert result.err == ""
    names = sorted(p.name for p in (newest_run(tmp_path) / "checkpoints").iterdir())
    assert names == ["best-epoch=0.ckpt", "last.ckpt"]


def test_a_run_of_a_few_steps(tmp_path: Path) -> None:
    """Ended by max_steps within its first epoch, it is tested all the same."""
    result = run(tmp_path, *SMALL, "--trainer.max_steps", 3)
    accuracy_of(result)
    summary = json.loads((newest_run(tmp_path) / "summary.json").read_text())
    assert summary["steps"] == 3


def test_a_run_that_stops_says_why(tmp_path: Path) -> None:
    """The condition, and after how many epochs it was met."""
    words = [*SMALL, "--max_epochs", 5, "--stop.target_accuracy", 0.05]
    result = run(tmp_path, *words)
    assert result.code == 0, result.err
    assert re.search(
        r"^stopped after 1 epochs: val_accuracy 0\.\d{4} has reached 0\.05$",
        result.out,
        re.MULTILINE,
    )


def test_without_checkpoints_the_last_weights_are_tested(tmp_path: Path) -> None:
    """enable_checkpointing false writes none, and names none."""
    result = run(tmp_path, *SMALL, "--trainer.enable_checkpointing", "false")
    accuracy_of(result)
    assert "checkpoint" not in result.out
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_sick_run_ends_with_3(tmp_path: Path) -> None:
    """A loss that is nan or infinite: step and learning rate, then why, and the step again."""
    code, out, err = run(tmp_path, *SMALL, "--lr", 1e20, "--lr_scheduler", "ConstantLR")
    assert code == 3
    assert "test accuracy" not in out
    sick, why, again = err.splitlines()
    assert re.fullmatch(
        r"sick: the loss is (nan|inf) at step \d+ \(epoch 0\): learning rate [\d.e+]+; .*", sick
    )
    assert why.startswith("diagnosis: learning-rate-too-high: ")
    replayed = run(tmp_path, *again.partition("python train.py ")[2].split())
    assert replayed.code == 3
    assert re.match(r"step \d+ again: the first (nan|-?inf) is in ", replayed.out)


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "64-true", "bf16-true"])
def test_every_precision_trains_or_says_why_not(tmp_path: Path, precision: str) -> None:
    """On a CPU too: exit code 0 with a figure, or one clear line."""
    words = [*SMALL, "--accelerator", "cpu", "--precision", precision]
    result = run(tmp_path, *words, warnings_are_errors=False)
    if result.code == 0:
        accuracy_of(result)
    else:
        assert result.code == 2
        assert result.err.startswith("error: ")
    assert "Traceback" not in result.err


OWN_MODULE = """
import torch
from torch.nn.functional import cross_entropy
from torchmlp._compat.lightning import pl


class Own(pl.LightningModule):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(784, width), torch.nn.ReLU(),
            torch.nn.Linear(width, 10),
        )

    def forward(self, images):
        return self.layers(images / 255)

    def training_step(self, batch):
        loss = cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch):
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch):
        accuracy = (self(batch[0]).argmax(-1) == batch[1]).float().mean()
        self.log("test_accuracy", accuracy)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.0078125)
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The import path of a module of the user's own."""
    (tmp_path / "users_module.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_module", raising=False)
    return "users_module.Own"


def optimizer_of(folder: Path) -> dict[str, Any]:
    """The optimizer's state in the last checkpoint."""
    path = find_checkpoint("last", folder / "lightning_logs")
    state: dict[str, Any] = torch.load(path, weights_only=True)["optimizer_states"][0]
    return state


OWN = tuple(word for word in SMALL if word not in ("--hidden", "8"))


@pytest.mark.parametrize("how", ["flag", "config", "saved"])
def test_a_module_of_ones_own_keeps_its_optimizer(
    tmp_path: Path, own_module: str, how: str
) -> None:
    """Named by a flag, by a configuration or by the configuration that a run saved, it is trained
    by its own configure_optimizers as long as nobody asks for another."""
    words: list[object] = ["--model", own_module]
    if how != "flag":
        text = f"model:\n  class_path: {own_module}\n  init_args:\n    width: 5\n"
        (tmp_path / "own.yaml").write_text(text)
        words = ["--config", "own.yaml"]
    if how == "saved":
        assert run(tmp_path, *words, *OWN).code == 0
        words = ["--config", newest_run(tmp_path) / "config.yaml"]
    result = run(tmp_path, *words, *OWN)
    accuracy_of(result)
    group = optimizer_of(tmp_path)["param_groups"][0]
    assert (group["lr"], "betas" in group) == (0.0078125, True)


@pytest.mark.parametrize("how", ["class", "rate", "config"])
def test_an_optimizer_that_is_asked_for_is_used(tmp_path: Path, own_module: str, how: str) -> None:
    """--optimizer, one of its settings, or an optimizer section in a configuration."""
    (tmp_path / "sgd.yaml").write_text(
        "optimizer:\n  class_path: torch.optim.SGD\n  init_args:\n    momentum: 0.5\n"
    )
    words = {
        "class": ["--optimizer", "SGD"],
        "rate": ["--lr", "0.0625"],
        "config": ["--config", "sgd.yaml"],
    }[how]
    accuracy_of(run(tmp_path, "--model", own_module, *words, *OWN))
    group = optimizer_of(tmp_path)["param_groups"][0]
    assert "betas" not in group
    assert group["initial_lr"] == (0.0625 if how == "rate" else 0.1)


FADING = """
import torch
from torchmlp._compat.lightning import pl


class Fading(pl.LightningModule):
    monitor = "val_accuracy"

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("epochs", torch.zeros(()))

    def on_train_epoch_start(self):
        self.epochs += 1

    def training_step(self, batch):
        return self.weight * 0

    def validation_step(self, batch):
        self.log("val_accuracy", 1 / (1 + (self.epochs - 2).abs()))

    def test_step(self, batch):
        self.log("test_accuracy", self.epochs / 10)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)
"""


def test_fit_tests_the_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that was best in its second epoch of four it is that epoch's network that is tested,
    named and found again."""
    (tmp_path / "fading_module.py").write_text(FADING)
    monkeypatch.syspath_prepend(tmp_path)
    words = ("--model", "fading_module.Fading", "--trainer.num_sanity_val_steps", 0)
    result = run(tmp_path, *words, *OWN, "--max_epochs", 4)
    assert accuracy_of(result) == "0.2000"
    assert re.search(r"checkpoint \S+best-epoch=1-val_accuracy=1\.0000\.ckpt\n", result.out)
    for which, accuracy in (("best", "0.2000"), ("last", "0.4000")):
        again = run(tmp_path, "test", *words, "--ckpt_path", which)
        assert accuracy_of(again) == accuracy


def test_an_error_in_ones_own_module_keeps_its_traceback(tmp_path: Path, own_module: str) -> None:
    """It is no mistake of the command line, and its place is what its author needs."""
    path = tmp_path / "users_module.py"
    path.write_text(
        OWN_MODULE.replace("loss = cross", 'raise ValueError("mine")\n        loss = cross')
    )
    with pytest.raises(ValueError, match="mine"):
        run(tmp_path, "--model", own_module, *OWN)
