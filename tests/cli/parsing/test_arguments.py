from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchmlp.cli.parsing import arguments
from torchmlp.cli.parsing.arguments import SHORT_FLAGS, names_in, recipes, value_of
from torchmlp.cli.terminal.errors import UsageError


def rewrite(words: list[str]) -> list[str]:
    """Of a line that may leave the command out."""
    has_command = words and not words[0].startswith("-")
    return arguments.rewrite(words if has_command else ["fit", *words])


def test_the_command_stays_first() -> None:
    """Whatever follows."""
    assert rewrite(["fit"]) == ["fit"]
    assert rewrite(["fit", "--lr", "0.1"]) == ["fit", "--optimizer.lr", "0.1"]
    assert rewrite(["validate", "--ckpt_path", "best"])[0] == "validate"


def test_a_recipe_that_ships_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config mnist, unless a file of that name is here; another name lists them all."""
    monkeypatch.chdir(tmp_path)
    assert set(recipes()) >= {"mnist", "fashion", "embedded", "debug/fast_run"}
    assert rewrite(["--config", "mnist"]) == ["fit", "--config", str(recipes()["mnist"])]
    assert rewrite(["--config=debug/fast_run"])[2] == str(recipes()["debug/fast_run"])
    with pytest.raises(UsageError, match=r"found none at minst; those that ship are .*mnist_fast"):
        rewrite(["--config", "minst"])
    Path("mnist").touch()
    assert rewrite(["--config", "mnist"]) == ["fit", "--config", "mnist"]


def test_every_short_flag_has_its_long_name() -> None:
    """The eleven flags of the help, and what they stand for; other options stay as they are."""
    assert SHORT_FLAGS == {
        "--accelerator": "--trainer.accelerator",
        "--devices": "--trainer.devices",
        "--precision": "--trainer.precision",
        "--max_epochs": "--trainer.max_epochs",
        "--batch_size": "--data.batch_size",
        "--lr": "--optimizer.lr",
        "--hidden": "--model.hidden",
        "--activation": "--model.activation",
        "--init": "--model.init",
        "--seed": "--seed_everything",
        "--data_root": "--data.root",
    }
    for short, long in SHORT_FLAGS.items():
        if short != "--hidden":
            assert rewrite([short, "3"]) == ["fit", long, "3"]
            assert rewrite([f"{short}=3"]) == ["fit", long, "3"]
    assert rewrite(["--model.bias", "false"]) == ["fit", "--model.bias", "false"]
    assert rewrite(["--trainer.fast_dev_run"]) == ["fit", "--trainer.fast_dev_run"]


@pytest.mark.parametrize(
    "words",
    [
        ["--hidden", "512", "256"],
        ["--hidden=512,256"],
        ["--hidden", "[512,256]"],
        ["--hidden=[512,256]"],
        ["--model.hidden", "512", "256"],
    ],
    ids=" ".join,
)
def test_hidden_takes_one_width_per_layer(words: list[str]) -> None:
    """However the widths are written, they end up as one list."""
    assert rewrite([*words, "--seed", "1"]) == [
        "fit", "--model.hidden", "[512,256]", "--seed_everything", "1",
    ]  # fmt: skip


def test_hidden_may_be_one_layer_or_none() -> None:
    """One width is a list of one; an empty list is a network without a hidden layer."""
    assert rewrite(["--hidden", "16"])[-1] == "[16]"
    assert rewrite(["--hidden", "[]"])[-1] == "[]"


def test_a_negative_number_is_a_value() -> None:
    """-1 does not begin an option."""
    assert rewrite(["--max_epochs", "-1", "--lr", "-1e-3"]) == [
        "fit", "--trainer.max_epochs", "-1", "--optimizer.lr", "-1e-3",
    ]  # fmt: skip


def test_the_checkpoint_goes_last(tmp_path: Path) -> None:
    """Behind every --config, for a saved one holds a null, and the last word counts."""
    config = tmp_path / "config.yaml"
    config.touch()
    line = ["test", "--ckpt_path", "best", "--config", str(config), "--seed", "1"]
    assert rewrite(line)[-2:] == ["--ckpt_path", "best"]
    assert rewrite(line)[1:3] == ["--config", str(config)]


def test_configurations_keep_their_order(tmp_path: Path) -> None:
    """The later one wins, so none is moved before another."""
    files = [str(tmp_path / name) for name in ("b.yaml", "a.yaml", "c.yaml")]
    for file in files:
        Path(file).touch()
    words = [word for file in files for word in ("--config", file)]
    assert rewrite(words) == ["fit", *words]


_FLAGS = st.sampled_from([*SHORT_FLAGS, "--model.bias", "--ckpt_path", "--trainer.max_steps"])
_VALUES = st.lists(st.sampled_from(["1", "-2.5", "relu", "[3]", "a=b"]), min_size=1, max_size=2)


@given(
    command=st.sampled_from([[], ["fit"]]), options=st.lists(st.tuples(_FLAGS, _VALUES), max_size=6)
)
def test_rewriting_twice_changes_nothing(
    command: list[str], options: list[tuple[str, list[str]]]
) -> None:
    """Lightning's launcher starts the rewritten line again in every other process."""
    # A checkpoint's file is one word; what stands behind it nobody would read.
    given = [(name, values[:1] if name == "--ckpt_path" else values) for name, values in options]
    line = [*command, *(word for name, values in given for word in (name, *values))]
    once = rewrite(line)
    assert rewrite(once) == once


def test_values_are_found_again() -> None:
    """The last of several, under the long name; an option without a value has none."""
    line = rewrite(["--ckpt_path", "a", "--seed=4", "--trainer.barebones", "--ckpt_path", "b"])
    assert value_of(line, "--ckpt_path") == "b"
    assert value_of(line, "--seed_everything") == "4"
    assert value_of(line, "--trainer.barebones") is None
    assert value_of(line, "--config") is None
    assert names_in(line) == [
        "--seed_everything", "--trainer.barebones", "--ckpt_path", "--ckpt_path",
    ]  # fmt: skip


@pytest.mark.parametrize("flag", SHORT_FLAGS)
def test_a_short_flag_needs_its_value(flag: str) -> None:
    """At the end of the line, before another option, and with nothing behind the equals sign."""
    for line in ([flag], [flag, "--trainer.max_steps", "3"]):
        with pytest.raises(UsageError, match=f"^{flag}: expected a value"):
            rewrite(line)


def test_a_configuration_has_to_exist() -> None:
    """Named by its short or its long option."""
    for option in ("--config", "-c"):
        with pytest.raises(UsageError, match=r"expected a YAML file, found none at nope\.yaml"):
            rewrite([option, "nope.yaml"])


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_random_weights_are_not_measured(command: str) -> None:
    """Without a checkpoint these commands have nothing to work on; their help needs none."""
    with pytest.raises(UsageError, match=f"^{command}: expected --ckpt_path FILE.ckpt"):
        rewrite([command])
    for wanted in ("--help", "-h", "--print_config"):
        assert rewrite([command, wanted]) == [command, wanted]
