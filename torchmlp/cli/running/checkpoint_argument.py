"""A checkpoint that is named on the command line: read, verified, and completed where it can be."""

import sys
from pathlib import Path
from typing import Any

import yaml

from torchmlp._runtime.sealed_file import DamagedFileError, load_sealed
from torchmlp.cli.parsing.arguments import configurations_in, names_in, value_of, values_of
from torchmlp.cli.parsing.yaml_file import read_configuration
from torchmlp.cli.terminal.errors import UsageError, reason
from torchmlp.lightning.checkpoints.files import as_checkpoint, find_checkpoint, newest_whole
from torchmlp.lightning.run_folder import LOGS
from torchmlp.nn.state_dicts import chain_of

WHO = "--ckpt_path: expected a checkpoint"
# What Lightning writes beside the weights, and goes on from.
SECTIONS = {"loops": dict, "optimizer_states": list, "lr_schedulers": list, "callbacks": dict}
# Settings of the data that a run which goes on keeps, and a test does not ask for.
OF_A_RUN = (
    *("batch_size", "val_size"),
    *("max_shift", "elastic_alpha", "elastic_sigma", "max_rotation", "max_scale"),
)
MAPPINGS = ("hyper_parameters", "datamodule_hyper_parameters")


def resolve_checkpoint(words: list[str]) -> list[str]:
    """Resolve --ckpt_path to a file, and add the data that checkpoint was trained on.

    The data are taken from the checkpoint where neither a flag nor a configuration names any: a
    network trained on one data set and silently tested on another helps nobody.
    """
    which = value_of(words, "--ckpt_path")
    if which is None:
        return words
    folder = Path(value_of(words, "--trainer.default_root_dir") or ".") / LOGS
    try:
        path = find_checkpoint(which, folder)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    checkpoint = read_checkpoint(path, words[0], folder)
    data = checkpoint.get("datamodule_hyper_parameters", {})
    words = [*words[: words.index("--ckpt_path")], "--ckpt_path", str(path)]
    _check_model_flags(words, checkpoint.get("hyper_parameters", {}))
    words[1:1] = network_words(words, checkpoint, path)
    if not _names_data(words):
        named = names_in(words)
        # A run that goes on goes on with the same batches.
        own = OF_A_RUN if words[0] == "fit" else ()
        keys = [key for key in ("dataset", "source", *own) if f"--data.{key}" not in named]
        words[1:1] = [f"--data.{key}={data[key]}" for key in keys if data.get(key) is not None]
    return words


def _names_data(words: list[str]) -> bool:
    """Whether a flag names another class of data, or a configuration has a section on them."""
    return "--data" in names_in(words) or is_configured(words, "data")


def _check_model_flags(words: list[str], settings: dict[str, Any]) -> None:
    """Refuse a flag that contradicts the checkpoint, whose settings would silently win.

    Raises:
        UsageError: it asks for another model than the checkpoint holds.
    """
    for name in names_in(words):
        key = name.removeprefix("--model.")
        if name == key or key not in settings:
            continue
        try:
            wanted = yaml.safe_load(values_of(words, name)[-1])
        except (yaml.YAMLError, ValueError, IndexError):
            continue  # the parser tells
        if wanted not in (settings[key], [settings[key]]) and [wanted] != settings[key]:
            raise UsageError(
                f"{name}: the checkpoint is of another shape or kind, {key}={settings[key]}, "
                f"got {wanted}; leave {name} out"
            )


def read_checkpoint(path: Path, command: str, logs: Path) -> dict[str, Any]:
    """What a file holds, as a checkpoint that `command` can take.

    Args:
        path: the file.
        command: "fit" goes on from it; the others need weights.
        logs: the folder of all runs, in which the newest whole checkpoint is looked for.

    Raises:
        UsageError: it is damaged, or no checkpoint, or lacks what the command needs.
    """
    try:
        checkpoint = as_checkpoint(load_sealed(path), path)
    except (DamagedFileError, OSError) as error:
        good = newest_whole(path, logs)
        hint = f"\nThe newest whole one is {good}" if good else ""
        raise UsageError(f"{WHO}; {reason(error)}{hint}") from error
    for name, kind in ((name, dict) for name in MAPPINGS):
        if not isinstance(checkpoint.get(name, {}), kind):
            raise UsageError(f"{WHO}; in {path} {name} is {_kind(checkpoint[name])}")
    if command != "fit":
        return checkpoint
    missing = [
        name for name, kind in SECTIONS.items() if not isinstance(checkpoint.get(name), kind)
    ]
    if missing:
        raise UsageError(
            f"{WHO} to go on from; {path} has no {', '.join(missing)}: train from the start, or "
            f"test and predict with these weights"
        )
    return checkpoint


def network_words(words: list[str], checkpoint: dict[str, Any], path: Path) -> list[str]:
    """The flags that make the network that bare weights are of, where nothing else names it.

    Raises:
        UsageError: the weights are of no multilayer perceptron.
    """
    names = names_in(words)
    own = {"--model", "--model.class_path"} & {*names} or is_configured(words, "model")
    if own or "hyper_parameters" in checkpoint:
        return []
    weights = checkpoint["state_dict"]
    chain = chain_of(weights)
    if chain is None:
        some = ", ".join(list(weights)[:4]) + ", ..." * (len(weights) > 4)  # noqa: PLR2004
        raise UsageError(
            f"{WHO}; {path} has weights alone ({some}), not those of a multilayer perceptron "
            f"alone; name their network with --model package.module.Class"
        )
    first, *hidden, last = chain.widths
    if hidden and "--model.activation" not in names:
        sys.stderr.write(
            f"{path} has weights alone: hidden layers of relu are assumed (--activation NAME)\n"
        )
    bias = str(chain.names[0][1] is not None).lower()
    found = {"in_features": first, "hidden": hidden, "out_features": last, "bias": bias}
    return [f"--model.{k}={v}" for k, v in found.items() if f"--model.{k}" not in names]


def is_configured(words: list[str], section: str) -> bool:
    """Whether a configuration on the command line has a section on this."""
    return any(section in (read_configuration(p) or {}) for p in configurations_in(words))


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"of type {type(value).__name__}"
