"""Files that commands read: damaged, of another kind, or no files at all."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.cli.command_line import SMALL, newest_run, run
from torchmlp import MLP
from torchmlp._runtime.sealed_file import load_sealed, save_sealed
from torchmlp.lightning.checkpoints.files import find_checkpoint

TEST = ("--data.source", "embedded", "--trainer.enable_model_summary", "false")


def told(folder: Path, *words: object) -> str:
    """What is said to a user whose command line is refused; never more than three lines."""
    code, out, err = run(folder, *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") <= 3
    return err


def weights_of(mlp: MLP, kind: str) -> Any:
    weights = mlp.state_dict()
    return {
        "bare": weights,
        "under state_dict": {"state_dict": weights},
        "as in torch's tutorial": {"epoch": 3, "model_state_dict": weights, "loss": 0.5},
        "of a sequence": mlp.to_sequential().state_dict(),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["bare", "under state_dict", "as in torch's tutorial", "of a sequence"]
)
def test_weights_alone_are_loaded(
    tmp_path: Path, digits_run: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch.save of a state_dict, however it is wrapped and whatever its layers are called, is
    tested with the sizes that it has: the figures are those of the checkpoint it was taken from."""
    del capsys
    best = find_checkpoint("best", digits_run / "lightning_logs")
    mlp = MLP(784, [8], 10, activation="tanh")
    state = load_sealed(best)["state_dict"]
    mlp.load_state_dict({name.removeprefix("mlp."): value for name, value in state.items()})
    torch.save(weights_of(mlp, kind), tmp_path / "mine.pt")
    words = ("--ckpt_path", "mine.pt", "--activation", "tanh", *TEST)
    result = run(tmp_path, "test", *words)
    assert result.code == 0, result.err
    expected = run(tmp_path, "test", "--ckpt_path", best, *TEST)
    assert result.out == expected.out
    assert "test accuracy" in result.out


def test_an_activation_that_no_weights_tell_is_said_to_be_assumed(tmp_path: Path) -> None:
    """Weights without biases too; relu is what is assumed."""
    torch.save(MLP(784, [8], 10, bias=False).state_dict(), tmp_path / "mine.pt")
    result = run(tmp_path, "predict", "--ckpt_path", "mine.pt", *TEST)
    assert result.code == 0, result.err
    assert "hidden layers of relu are assumed (--activation NAME)" in result.err


def test_weights_of_another_network(tmp_path: Path) -> None:
    """What is needed is said: the class of the network."""
    torch.save(nn.Sequential(nn.Conv2d(1, 2, 3)).state_dict(), tmp_path / "mine.pt")
    err = told(tmp_path, "test", "--ckpt_path", "mine.pt", *TEST)
    assert "mine.pt has weights alone (0.weight, 0.bias)" in err
    assert "--model package.module.Class" in err


def test_no_training_goes_on_from_weights_alone(tmp_path: Path) -> None:
    """There is no optimizer's state in them."""
    torch.save(MLP(784, [8], 10).state_dict(), tmp_path / "mine.pt")
    err = told(tmp_path, "fit", "--ckpt_path", "mine.pt", *TEST)
    assert "mine.pt has no loops, optimizer_states, lr_schedulers, callbacks" in err


SECTIONS = (
    *("state_dict", "loops", "optimizer_states", "lr_schedulers", "callbacks", "hyper_parameters"),
    *("pytorch-lightning_version", "epoch", "global_step"),
)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_checkpoint_with_something_else_in_a_section(own_run: Path, command: str) -> None:
    """Whatever a section holds, or where it is missing, the command ends well or with a line."""
    right = load_sealed(find_checkpoint("best", own_run / "lightning_logs"))
    words = (*SMALL, "--max_epochs", 2) if command == "fit" else TEST
    values: list[Any] = [3, [], {"x": torch.zeros(2)}]
    for k, name in enumerate(SECTIONS):
        for value in (None, values[k % 3]):
            content = {**right, name: value}
            if value is None:
                del content[name]
            torch.save(content, own_run / "odd.ckpt")
            code, _, err = run(
                own_run, command, *words, "--ckpt_path", "odd.ckpt", warnings_are_errors=False
            )
            assert code in (0, 2), (name, value, err)
            assert code == 0 or err.count("\n") <= 4, (name, value, err)


def test_a_damaged_checkpoint_names_the_newest_whole_one(own_run: Path) -> None:
    """One flipped bit in the last: the error says so, and which file to take."""
    folder = newest_run(own_run) / "checkpoints"
    last, (best,) = folder / "last.ckpt", folder.glob("best*")
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    for command in ("fit", "test", "validate", "predict"):
        err = told(own_run, command, "--ckpt_path", "last", *TEST)
        assert "last.ckpt is damaged: its checksum is another" in err
        assert f"The newest whole one is lightning_logs/version_0/checkpoints/{best.name}" in err


def test_a_flag_beside_a_checkpoint_that_is_no_value(own_run: Path) -> None:
    """A tag of YAML's that nobody knows; no test images wanted, where they are all that is."""
    words = ("test", "--ckpt_path", "last", *TEST)
    assert "hidden" in told(own_run, *words, "--hidden", "!!python/object:os.system x")
    err = told(own_run, *words, "--trainer.limit_test_batches", "0")
    assert "test: nothing was measured" in err


def test_predictions_of_sick_weights(own_run: Path) -> None:
    """nan in the weights is exit code 3 for predict as for test, and no file of nan is left."""
    checkpoint = load_sealed(find_checkpoint("last", own_run / "lightning_logs"))
    checkpoint["state_dict"]["mlp.layers.0.bias"][0] = torch.nan
    torch.save(checkpoint, own_run / "sick.ckpt")
    for command in ("test", "predict"):
        code, out, err = run(own_run, command, "--ckpt_path", "sick.ckpt", *TEST)
        assert (code, out) == (3, "")
        assert err.startswith("sick: ")
    assert "1000 of 1000 predictions are nan or infinite" in err
    assert not list(own_run.rglob("predictions.csv"))


@pytest.fixture
def broken_run(own_run: Path) -> Path:
    """A run with a broken.pt, as a fit leaves it."""
    state = load_sealed(find_checkpoint("last", own_run / "lightning_logs"))["state_dict"]
    save_sealed(
        {
            "state_dict": state,
            "batch": [torch.full((4, 784), torch.nan), torch.arange(4)],
            "rng": torch.get_rng_state(),
            "step": 7,
        },
        newest_run(own_run) / "broken.pt",
    )
    return own_run


def test_a_replay_of_unreadable_files(broken_run: Path) -> None:
    """Cut, of another kind, without a part, with a part of another kind: one line each. The right
    one is replayed."""
    path = newest_run(broken_run) / "broken.pt"
    words = ("diagnose", "--replay", path.relative_to(broken_run), "--steps", 2)
    result = run(broken_run, *words)
    assert result.code == 3, result.err
    assert "step 7 again: the first nan is in" in result.out
    whole, right = path.read_bytes(), load_sealed(path)
    path.write_bytes(whole[: len(whole) // 2])
    assert "broken.pt is damaged" in told(broken_run, *words)
    path.write_bytes(b"text")
    assert "no file of torch.save's" in told(broken_run, *words)
    for content in (
        [1, 2],
        {name: value for name, value in right.items() if name != "rng"},
        {**right, "batch": [torch.zeros(4)]},
        {**right, "batch": [torch.zeros(4, 3), torch.zeros(4)]},
        {**right, "batch": 3},
        {**right, "rng": torch.zeros(3)},
        {**right, "step": "x"},
        {**right, "state_dict": {}},
    ):
        save_sealed(content, path)
        assert "broken.pt is of another model, or no broken.pt" in told(broken_run, *words)


def test_a_run_that_fails_before_it_begins_leaves_no_folder(tmp_path: Path) -> None:
    """A mistake that is seen when everything has been made, and one that the data show."""
    assert told(tmp_path, *TEST, "--lr", "-1")
    assert told(tmp_path, *TEST, "--data.val_size", "5000")
    torch.save(MLP(9, [8], 10).state_dict(), tmp_path / "mine.pt")
    result = run(tmp_path, "test", "--ckpt_path", "mine.pt", *TEST)
    assert result.code == 2
    assert "in_features=9" in result.err
    assert not list((tmp_path / "lightning_logs").iterdir())


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: &a [*a]\n", "one that holds itself"),
        (BOMB, "at most 100000 values"),
        (f"model: {'[' * 500}{']' * 500}", "100 deep"),
        ("stop: [1]\n", "stop: expected settings with their names, got [1]"),
        ("[1, 2]\n", "holds list"),
        ('data: {init_args: {root: "a\\0b"}}\n', "NUL"),
        ("#" * (1 << 21), "bytes, more than"),
        ("seed_everything: -5\n", "--seed: expected 0 to 4294967295, got -5"),
    ],
    ids=["itself", "bomb", "deep", "list", "no sections", "NUL", "long", "seed"],
)
def test_a_configuration_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    """Aliases that hold themselves or make gigabytes of a line, and the like: at once."""
    (tmp_path / "my.yaml").write_text(text, encoding="utf-8")
    began = time.monotonic()
    assert said in told(tmp_path, "fit", "--config", "my.yaml")
    assert time.monotonic() - began < 30


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe that nobody writes to, and a device that never ends."""
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.npz")
    for path in ("pipe", "/dev/zero"):
        assert "is no regular file" in told(tmp_path, "fit", "--config", path)
        assert "is no regular file" in told(tmp_path, "fit", f"-c{path}")
        assert "checkpoint" in told(tmp_path, "test", "--ckpt_path", path)
    assert "regular file" in told(tmp_path, "verify", "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    assert "no .py, .ipynb, .npz in the folder" in told(tmp_path, "verify", "folder.npz")


def test_gradients_of_no_end(tmp_path: Path) -> None:
    """A layer numbered beyond all others, and a small file of gigabytes, are refused unread."""
    arrays = {name: np.ones((3, 3)) for name in ("x", "W1", "dW1")} | {"target": np.arange(3)}
    np.savez(tmp_path / "far.npz", **arrays, W99999999999=np.ones((3, 3)))  # type: ignore[arg-type]
    assert "no W2" in told(tmp_path, "verify", "far.npz")
    with open(tmp_path / "bomb.npz", "wb") as file:  # noqa: PTH123
        np.savez_compressed(file, x=np.zeros(2 << 27, np.uint8), W1=np.zeros(7 << 27, np.uint8))
    assert "more than 1073741824" in told(tmp_path, "verify", "bomb.npz")
