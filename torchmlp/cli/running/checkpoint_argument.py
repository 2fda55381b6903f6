"""A checkpoint that is named on the command line: read, verified, and completed where it can be."""

import sys
from pathlib import Path
from typing import Any

from torchmlp._runtime.sealed_file import DamagedFileError, load_sealed
from torchmlp.cli.errors import UsageError, reason
from torchmlp.cli.parsing.arguments import configurations_in, names_in
from torchmlp.cli.parsing.yaml_file import read_configuration
from torchmlp.lightning.checkpoints.files import as_checkpoint, newest_whole
from torchmlp.nn.state_dicts import chain_of

WHO = "--ckpt_path: expected a checkpoint"
# What Lightning writes beside the weights, and goes on from.
SECTIONS = {"loops": dict, "optimizer_states": list, "lr_schedulers": list, "callbacks": dict}
MAPPINGS = ("hyper_parameters", "datamodule_hyper_parameters")


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
