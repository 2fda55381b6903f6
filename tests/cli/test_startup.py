import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.cli.command_line import run, wait_for
from tests.cli.command_line import start as start_process
from torchmlp._compat.lightning import pl
from torchmlp.cli.parsing.arguments import SHORT_FLAGS, rewrite
from torchmlp.cli.parsing.early_checks import check
from torchmlp.cli.parsing.options import SECTIONS, known_options, known_settings, options_of
from torchmlp.cli.running.configured_run import ConfiguredRun, Parser
from torchmlp.cli.running.purpose import Purpose
from torchmlp.cli.terminal.errors import UsageError
from torchmlp.lightning.callbacks.stopping import Stopping
from torchmlp.lightning.checkpoints.save_when_interrupted import SaveWhenInterrupted
from torchmlp.lightning.classifier import Classifier
from torchmlp.lightning.datamodule import ImageDataModule

COMMANDS = ("fit", "validate", "test", "predict")
HEAVY = (
    *("pytorch_lightning", "torchvision", "torchmetrics", "matplotlib", "tensorboard"),
    *("jsonargparse", "sympy", "torch._dynamo"),
)


def imported_by(code: str, *words: str, folder: Path = ROOT) -> set[str]:
    """The modules that a process of its own has when it has run `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)", *words],
        cwd=folder, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


def imported_by_main(folder: Path, *words: str) -> set[str]:
    """The modules that a usage error has needed."""
    return imported_by(
        "from torchmlp.cli import main\nassert main(sys.argv[1:]) == 2", *words, folder=folder
    )


def options_of_the_parser(command: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every option that LightningCLI's parser for a command knows."""
    monkeypatch.setattr(sys, "argv", ["train.py", command])
    monkeypatch.setattr(ConfiguredRun, "parse_arguments", _stop)
    with pytest.raises(_StopError) as stopped:
        ConfiguredRun([command], Purpose(lambda *_: 0), SaveWhenInterrupted())
    parser = stopped.value.parser
    return [option for option in parser._known_options() if option not in ("-h", "-c")]


class _StopError(Exception):
    def __init__(self, parser: Parser) -> None:
        self.parser = parser


def _stop(_cli: ConfiguredRun, parser: Parser, _args: object) -> None:
    raise _StopError(parser)


def test_importing_the_package_imports_nothing_else() -> None:
    """`import torchmlp` waits with torch, numpy and all that is heavy."""
    assert not {"torch", "numpy", *HEAVY} & imported_by("import torchmlp")


@pytest.mark.parametrize("names", ["MLP", "MLP, Dense, check_gradients", "training_states"])
def test_a_network_imports_torch_and_little_else(names: str) -> None:
    """What needs no Lightning takes as long as torch: none of the heavy modules is there."""
    got = imported_by(f"from torchmlp import {names}")
    assert "torch" in got
    assert not set(HEAVY) & got


@pytest.mark.parametrize(
    "words",
    [
        ["--model.hiden", "5"],
        ["--trainer.max_epoch", "3"],
        ["--data.nope=3"],
        ["--stop.patienc", "3"],
        ["--lrr", "0.1"],
        ["--max_epochs", "abc"],
        ["--lr", "x"],
        ["--seed", "x"],
        ["--batch_size", "many"],
        ["--accelerator", "gpux"],
        ["--config", "section.yaml"],
        ["--config", "setting.yaml"],
        ["--config", "broken.yaml"],
        ["--config", "latin.yaml"],
    ],
    ids=" ".join,
)
def test_a_mistake_waits_for_no_import(tmp_path: Path, words: list[str]) -> None:
    """Unknown options and keys, unreadable files and words for numbers are told before torch."""
    (tmp_path / "section.yaml").write_text("modell:\n  x: 3\n", encoding="utf-8")
    (tmp_path / "setting.yaml").write_text("trainer:\n  max_epoch: 3\n", encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("data: [\n", encoding="utf-8")
    (tmp_path / "latin.yaml").write_bytes(b"\xe4: 3\n")
    assert not {"torch", *HEAVY} & imported_by_main(tmp_path, *words)


@pytest.mark.parametrize(
    "words",
    [["--activation", "rellu"], ["--init", "uniform(1)"], ["--model.loss", "mes"]],
    ids=" ".join,
)
def test_a_mistyped_name_waits_for_torch_alone(tmp_path: Path, words: list[str]) -> None:
    """Activations, initial weights and losses are looked up without Lightning."""
    assert not set(HEAVY) & imported_by_main(tmp_path, *words)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_the_parser_passes(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The early check refuses no option that LightningCLI's parser knows."""
    monkeypatch.chdir(tmp_path)
    Path("1").touch()  # what --config names is read
    options = options_of_the_parser(command, monkeypatch)
    assert {"--config", "--trainer.max_epochs", "--model.hidden", "--ckpt_path"} <= set(options)
    for option in options:
        check([command, option, "1"])
        check([command, f"{option}+", "1"])
        if option.lstrip("-") not in ("trainer", "stop", "model", "data"):
            check([command, f"{option}.deeper=1"])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_early_check_knows_what_the_parser_knows(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hints are made from the parser's options, but for help on classes and appending."""
    options = options_of_the_parser(command, monkeypatch)
    parsers = {option for option in options if not option.endswith((".help", "+"))}
    ours = set(known_options(command)) - set(SHORT_FLAGS)
    assert parsers - ours == set()


def test_settings_are_read_as_python_has_them() -> None:
    """The source tells what inspect.signature does."""
    classes = {
        "trainer": pl.Trainer,
        "stop": Stopping,
        "model": Classifier,
        "data": ImageDataModule,
    }
    assert set(classes) == set(SECTIONS)
    for section, owner in classes.items():
        assert known_settings(section, "fit") == set(inspect.signature(owner).parameters)


@pytest.mark.parametrize(
    "line",
    [
        "fit --model my.Module --model.anything 3 --model.activation rellu",
        "fit --data my.Data --data.batch_size many",
        "fit --optimizer my.Optimizer --optimizer.lr auto --optimizer.anything 3",
        "fit --lr_scheduler my.Scheduler --lr_scheduler.anything 3",
        "fit --model.class_path=my.Module --model.init_args.anything 3",
        "fit --data.class_path my.Data --data.anything 3",
        "fit --config any.yaml --model.anything 3 --data.batch_size many --optimizer.lr auto",
        "fit -cany.yaml --model.anything 3",
        "fit -- --anything",
        "fit --trainer.callbacks+ my.Callback --trainer.callbacks.anything 3",
        "fit --trainer.logger+=my.Logger",
        "fit --trainer.plugins my.Plugin --trainer.accelerator mygpu",
        "fit --trainer.callbacks=my.Callback --trainer.accelerator gpux",
        "fit --trainer.accelerator hpu",
        "fit --trainer.max_epochs null --optimizer.lr .inf --seed_everything true",
        "fit --model.activation [relu,tanh] --model.init 'he'",
        "fit --model.init null",
        "fit --hiden 3 --help",
        "fit --lrr 1 -h",
        "fit --lrr 1 --model.help Classifier",
        "fit --print_config=skip_null --max_epochs abc",
    ],
)
def test_doubt_is_left_to_the_parser(
    tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a user's own class or configuration may make right, and YAML's own words, pass."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "any.yaml").write_text(
        "model:\n  class_path: my.Module\ntrainer.max_epochs: 3\n", encoding="utf-8"
    )
    check(line.split())


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda p: p.name)
def test_configurations_pass(path: Path) -> None:
    """So does every configuration in the repository."""
    check(rewrite(["fit", "--config", str(path)]))


def test_a_saved_configuration_passes(digits_run: Path) -> None:
    """And the one that a run saves, which names every setting."""
    config = digits_run / "lightning_logs" / "version_0" / "config.yaml"
    for command in COMMANDS:
        check([command, "--config", str(config)])


def test_a_source_that_cannot_be_read_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed without sources, or with other ones, the parser has the first word."""
    monkeypatch.setattr(
        "torchmlp.cli.parsing.options.SECTIONS",
        dict.fromkeys(SECTIONS, ("torch", "none.py", "None")),
    )
    options_of.cache_clear()
    try:
        check(["fit", "--trainer.max_epoch", "3", "--model.hiden", "5", "--anything", "3"])
    finally:
        options_of.cache_clear()


@pytest.mark.parametrize(
    "words",
    [
        ("--model.hiden", "5"),
        ("--trainer.max_epoch", "3"),
        ("--stopp.patience", "3"),
        ("--data.nope", "3"),
        ("--max-epochs", "3"),
        ("--max_epochs", "abc"),
        ("--lr", "x"),
        ("--seed", "x"),
        ("--batch_size", "x"),
        ("--activation", "rellu"),
        ("--init", "foo"),
        ("--model.loss", "mes"),
    ],
    ids=" ".join,
)
def test_the_early_words_are_the_parsers(
    tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake reads the same whether it is seen early or by the parser."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(UsageError) as early:
        check(rewrite(["fit", *words]))
    monkeypatch.setattr("torchmlp.cli.parsing.early_checks.check", lambda _words: None)
    code, _, err = run(tmp_path, *words)
    assert (code, err) == (2, f"error: {early.value}\n")


def test_the_collector_works_while_a_run_does(tmp_path: Path) -> None:
    """train.py has it off for the imports only; what they made it leaves alone afterwards."""
    (tmp_path / "look.py").write_text(
        "import gc\nimport pytorch_lightning as pl\n"
        "class Look(pl.Callback):\n"
        "    def on_train_start(self, *_):\n"
        "        print('collector', gc.isenabled(), gc.get_freeze_count() > 100000)\n",
        encoding="utf-8",
    )
    words = ("--trainer.fast_dev_run", "true", "--data.source", "embedded")
    process = start_process(
        tmp_path, *words, "--trainer.callbacks", "look.Look", PYTHONPATH=str(tmp_path)
    )
    result = wait_for(process)
    assert result.code == 0, result.err
    assert "collector True True" in result.out


def test_a_single_callback_needs_no_list(tmp_path: Path) -> None:
    """As with Lightning's Trainer, `--trainer.callbacks` takes one."""
    words = ("--trainer.fast_dev_run", "true", "--data.source", "embedded")
    callback = "torchmlp.lightning.callbacks.terminate_on_nonfinite.TerminateOnNonFinite"
    result = run(tmp_path, *words, "--trainer.callbacks", callback)
    assert result.code == 0, result.err
