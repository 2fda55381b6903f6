import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import ROOT
from tests.cli.command_line import SMALL, newest_run, run
from torchmlp.data import import_torchvision
from torchmlp.lightning.checkpoints.files import find_checkpoint

E = ("--data.source", "embedded", "--max_epochs", "1")

# A command line, and what its user has to read: what was given, what was meant or would do.
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "command": (("ft",), ("'ft'", "fit", "predict")),
    "option": (("--max_step", "3"), ("--max_step", "--trainer.max_steps")),
    "abbreviated": (("--trainer.max_epoch", "3"), ("max_epoch", "--trainer.max_epochs?")),
    "option of the model": (("--model.hiden", "3"), ("hiden", "--model.hidden")),
    "option of the data": (("--data.nope=3",), ("nope", "fit --help")),
    "word too many": (("fit", "mnist"), ("mnist",)),
    "batch of zero": (("--batch_size", "0", *E), ("batch_size", "at least 1", "0")),
    "batch of letters": (("--batch_size", "x"), ("batch_size", "an integer", "'x'")),
    "epochs of letters": (("--max_epochs", "abc"), ("max_epochs", "an integer", "'abc'")),
    "activation": (("--activation", "rellu", *E), ("'rellu'", "'relu'")),
    "init": (("--init", "uniform(1)", *E), ("'uniform(1)'", "uniform(low, high)")),
    "loss": (("--model.loss", "mes", *E), ("'mes'", "'mse'", "cross_entropy")),
    "dropout": (("--model.dropout", "1.5", *E), ("dropout", "0 <= rate < 1", "1.5")),
    "width of zero": (("--hidden", "0", *E), ("at least 1", "hidden=[0]")),
    "flag without value": (("--lr",), ("--lr", "expected a value")),
    "checkpoint without value": (("fit", "--ckpt_path"), ("--ckpt_path", "expected one argument")),
    "rate of letters": (("--lr", "abc"), ("lr", "a number", "'abc'")),
    "rate below zero": (("--lr", "-1", *E), ("--optimizer.lr", "learning rate", "-1.0")),
    "seed below zero": (("--seed", "-5", *E), ("--seed", "0 to 4294967295", "-5")),
    "warmup of nothing": (("--lr_scheduler.warmup", "~", *E), ("lr_scheduler.warmup", "null")),
    "words after a checkpoint": (
        ("predict", "--ckpt_path", "best", "a.png", "b.png"), ("'a.png b.png'", "--ckpt_path best")
    ),
    "a step for ever": (("map", "--steps", "9223372036854775807"), ("--steps", "10000000")),
    "softmax": (("--model.output_activation", "softmax", *E), ("cross_entropy", "'identity'")),
    "seed of letters": (("--seed", "x"), ("seed_everything", "an integer", "'x'")),
    "optimizer": (("--optimizer", "Adm"), ("optimizer", "'Adm'", "Adam")),
    "scheduler": (("--lr_scheduler", "OneCycl"), ("lr_scheduler", "'OneCycl'", "OneCycle")),
    "model": (("--model", "Clasifier"), ("model", "'Clasifier'", "Classifier")),
    "model unlike any": (("--model", "Nope"), ("model", "'Nope'", "package.module.Class")),
    "model's module": (("--model", "no_such.Module"), ("no_such",)),
    "data set": (("--data.dataset", "mnst"), ("'mnst'", "'mnist'", "usps")),
    "source": (("--data.source", "embeded"), ("'embeded'", "'embedded'")),
    "source of another set": (
        ("--data.source", "embedded", "--data.dataset", "kmnist"),
        ("kmnist", "mnist", "full"),
    ),
    "validation of everything": (("--data.val_size", "5000", *E), ("5000", "0..4999")),
    "shift": (("--data.max_shift", "-1", *E), ("max_shift", "-1")),
    "patience": (("--stop.patience", "0", *E), ("patience", "at least 1", "0")),
    "target in percent": (("--stop.target_accuracy", "98", *E), ("98", "0 < target <= 1")),
    "precision": (("--precision", "17"), ("precision", "'17'", "16-mixed")),
    "devices": (("--devices", "0", *E), ("devices", "0")),
    "limit": (("--trainer.limit_val_batches", "x"), ("limit_val_batches", "a number", "'x'")),
    "endless": (("--max_epochs", "-1", *E[:2]), ("max_epochs=-1", "max_steps")),
    "no configuration": (("--config", "nope.yaml"), ("--config", "nope.yaml")),
    "no checkpoint": (("test",), ("--ckpt_path", "best")),
    "no run": (("test", "--ckpt_path", "best"), ("best", "lightning_logs", "train first")),
    "no run elsewhere": (
        ("--ckpt_path", "last", "--trainer.default_root_dir", "empty"),
        ("last", "empty/lightning_logs"),
    ),
    "no such checkpoint": (("test", "--ckpt_path", "nope.ckpt"), ("nope.ckpt", "none")),
}  # fmt: skip

CONFIGS = {
    "option": ("model:\n  init_args:\n    hiden: [3]\n", ("hiden", "--model.hidden")),
    "section": ("modell:\n  x: 3\n", ("modell", "--model")),
    "value": ("data:\n  init_args:\n    batch_size: many\n", ("batch_size", "integer", "'many'")),
    "broken": ("data: [\n", ("config", "line 2")),
    "class": ("optimizer:\n  class_path: Adm\n", ("optimizer", "'Adm'", "Adam")),
}  # fmt: skip


def assert_is_told(folder: Path, words: tuple[str, ...], told: tuple[str, ...]) -> None:
    """Exit code 2; one to three lines on stderr, nothing on stdout, and in them what is told."""
    code, out, err = run(folder, *words)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert 1 <= err.count("\n") <= 3
    assert "Traceback" not in err
    assert "usage:" not in err.lower()
    for part in told:
        assert part in err


@pytest.mark.parametrize(("words", "told"), CASES.values(), ids=CASES)
def test_a_mistake_is_told_in_three_lines(
    tmp_path: Path, words: tuple[str, ...], told: tuple[str, ...]
) -> None:
    """What was given, and what was probably meant or would do."""
    assert_is_told(tmp_path, words, told)


@pytest.mark.parametrize(("text", "told"), CONFIGS.values(), ids=CONFIGS)
def test_a_mistake_in_a_configuration(tmp_path: Path, text: str, told: tuple[str, ...]) -> None:
    """The same as on the command line."""
    (tmp_path / "my.yaml").write_text(text, encoding="utf-8")
    assert_is_told(tmp_path, ("--config", "my.yaml"), told)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: asking for it is right")
@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there(tmp_path: Path, accelerator: str) -> None:
    """The remedy is the flag's other value."""
    told = (f"--accelerator {accelerator}", "--accelerator auto", "cpu")
    assert_is_told(tmp_path, ("--accelerator", accelerator, *E), told)


def test_a_metric_that_nobody_logs(tmp_path: Path) -> None:
    """It can only be known after an epoch; the metrics that are logged are listed."""
    code, _, err = run(tmp_path, *SMALL, "--stop.patience", 2, "--stop.monitor", "val_los")
    assert code == 2
    assert err.startswith("error: stopping: expected a logged metric, got 'val_los'")
    assert "val_loss" in err
    assert err.count("\n") == 1


def checkpoints(folder: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """Files that are no checkpoints of this run's, and what is to be told of each."""
    best = next((newest_run(folder) / "checkpoints").glob("best*"))
    cut, other, empty, text = (
        folder / f"{name}.ckpt" for name in ("cut", "other", "empty", "text")
    )
    cut.write_bytes(best.read_bytes()[: best.stat().st_size // 2])
    torch.save({"weights": 3}, other)
    empty.touch()
    text.write_text("# this is no checkpoint\n", encoding="utf-8")
    return {
        "cut by a full disk": (cut, ("cut.ckpt", "damaged")),
        "of another program": (other, ("other.ckpt",)),
        "empty": (empty, ("empty.ckpt", "damaged")),
        "text": (text, ("text.ckpt", "damaged, or no file of torch.save")),
        "a folder": (folder, (str(folder),)),
    }


@pytest.mark.parametrize("command", ["fit", "test"])
@pytest.mark.parametrize(
    "which", ["cut by a full disk", "of another program", "empty", "text", "a folder"]
)
def test_a_file_that_is_no_checkpoint(own_run: Path, which: str, command: str) -> None:
    """Missing, damaged and foreign files are told apart, before anything is trained."""
    path, told = checkpoints(own_run)[which]
    assert_is_told(own_run, (command, "--ckpt_path", str(path)), told)


def test_a_checkpoint_of_another_shape(own_run: Path) -> None:
    """Weights that do not fit the network are named, with both shapes, in one line."""
    path = own_run / "wide.ckpt"
    checkpoint = torch.load(find_checkpoint("best", own_run / "lightning_logs"), weights_only=True)
    checkpoint["state_dict"]["mlp.layers.0.weight"] = torch.zeros(9, 784)
    torch.save(checkpoint, path)
    code, out, err = run(own_run, "test", "--ckpt_path", path)
    assert (code, out) == (2, "")
    assert "mlp.layers.0.weight is (9, 784) in the checkpoint and (8, 784) in the model" in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_nothing_to_validate_on(own_run: Path) -> None:
    """Without held out images validate has nothing to measure, and says so."""
    words = ("validate", "--ckpt_path", "best", "--data.val_size", "0", "--data.source", "embedded")
    assert_is_told(own_run, words, ("validate", "--data.val_size"))


def test_data_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no mistake of the command line: exit code 1, the reason and the way out."""
    monkeypatch.setattr(import_torchvision().datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    code, out, err = run(tmp_path, "--data.source", "full")
    assert (code, out) == (1, "")
    assert err.startswith("error: MNIST: data/MNIST/raw/train-images-idx3-ubyte is missing")
    assert "Way out: put the original train-images-idx3-ubyte.gz into data/MNIST/raw" in err
    assert "source='embedded'" in err
    assert err.count("\n") <= 3
    assert "Traceback" not in err


def test_logs_that_cannot_be_written(tmp_path: Path) -> None:
    """Nor is a full or read-only disk: exit code 1, before anything is trained."""
    (tmp_path / "file").touch()
    code, out, err = run(tmp_path, *SMALL, "--trainer.default_root_dir", "file")
    assert (code, out) == (1, "")
    assert err.startswith("error: log folder file/lightning_logs cannot be written")
    assert "--trainer.default_root_dir" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["ft"], ["--lr"], ["test"], ["--config", "nope.yaml"], ["--help"]], ids=" ".join
)
def test_a_quick_mistake_waits_for_no_import(tmp_path: Path, words: list[str]) -> None:
    """What can be seen without them is answered before torch and Lightning are imported."""
    code = (
        "import sys; from torchmlp.cli import main; code = main(sys.argv[1:]); "
        "print([n for n in ('torch', 'pytorch_lightning', 'jsonargparse') if n in sys.modules]); "
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == (0 if words == ["--help"] else 2)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("map --stepz 3", "--steps"),
        ("map --width 3", "--widths"),
        ("map --batchsizes=3", "--batch_sizes"),
        ("diagnose --step 3", "--steps"),
        ("diagnose --replya x", "--replay"),
        ("verify --hiden 3 a.py:f", "--hidden"),
    ],
)
def test_a_mistyped_option_of_the_commands_own(tmp_path: Path, line: str, near: str) -> None:
    """The nearest of its own is offered, and its own help."""
    command, option, *_ = line.replace("=", " ").split()
    code, out, err = run(tmp_path, *line.split())
    assert (code, out) == (2, "")
    assert err == (
        f"error: {command}: unknown option {option}; did you mean {near}?\n"
        f"All options: python train.py {command} --help\n"
    )


@pytest.mark.parametrize("line", ["map --lr", "diagnose --seed"])
def test_an_option_of_fit_is_left_to_it(tmp_path: Path, line: str) -> None:
    """However near it is to one of the command's own."""
    assert "expected a value" in run(tmp_path, *line.split()).err
