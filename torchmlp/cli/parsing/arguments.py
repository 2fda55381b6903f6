"""The command line before LightningCLI sees it: default command, short flags, checkpoint last.

Pure functions of a list of strings. What they return is a fixed point, so that a process started
again with the rewritten line (Lightning's launcher for several devices does that) reads the same.
"""

from difflib import get_close_matches
from pathlib import Path

from torchmlp.cli.errors import UsageError

COMMANDS = ("fit", "validate", "test", "predict", "verify", "diagnose", "map", "report")

SHORT_FLAGS = {
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


def rewrite(arguments: list[str]) -> list[str]:
    """The command line in LightningCLI's own words.

    Raises:
        UsageError: an unknown command, a short flag without its value, a configuration file that is
            not there, or a command that needs a checkpoint and has none.
    """
    command, rest = _command(arguments)
    options = _with_values(rest)
    wants_help = any(name in ("-h", "--help", "--print_config") for name, _ in options)
    for name, values in options:
        if name in SHORT_FLAGS and not values:
            raise UsageError(f"{name}: expected a value, as in: python train.py {name} VALUE")
        if name in ("-c", "--config") and values and not Path(values[0]).exists():
            raise UsageError(f"--config: expected a YAML file, found none at {values[0]}")
        if name == "--ckpt_path" and len(values) > 1:
            raise UsageError(
                f"{command}: unknown words {' '.join(values[1:])!r} after {name} {values[0]}; "
                f"expected options, as --name value"
            )
    has_checkpoint = any(name == "--ckpt_path" for name, _ in options)
    if command != "fit" and not has_checkpoint and not wants_help:
        raise UsageError(
            f"{command}: expected --ckpt_path FILE.ckpt, or --ckpt_path best (the newest run's); "
            f"without one the weights would be random"
        )
    # A checkpoint named by a flag wins over the null that a saved configuration holds: the last
    # word counts, so the flag goes last.
    options.sort(key=lambda option: option[0] == "--ckpt_path")
    return [command, *(word for option in options for word in _spell(*option))]


def value_of(arguments: list[str], option: str) -> str | None:
    """The value an option has in a rewritten command line, the last one if there are several."""
    values = values_of(arguments, option)
    return values[-1] if values else None


def values_of(arguments: list[str], option: str) -> list[str]:
    """The values an option is given in a rewritten command line, in their order."""
    return [words[0] for name, words in _with_values(arguments[1:]) if name == option and words]


def configurations_in(arguments: list[str]) -> list[str]:
    """The configurations that a rewritten command line names, in their order; -cFILE is one too."""
    found: list[str] = []
    for name, words in _with_values(arguments[1:]):
        if name in ("-c", "--config"):
            found += words[:1]
        elif name.startswith("-c"):
            found.append(name[2:])
    return found


def names_in(arguments: list[str]) -> list[str]:
    """The names of all options in a rewritten command line."""
    return [name for name, _ in _with_values(arguments[1:])]


def _command(arguments: list[str]) -> tuple[str, list[str]]:
    if not arguments or arguments[0].startswith("-"):
        return "fit", arguments
    if arguments[0] not in COMMANDS:
        near = get_close_matches(arguments[0], COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"unknown command {arguments[0]!r}{hint}\nCommands: {', '.join(COMMANDS)}")
    return arguments[0], arguments[1:]


def _with_values(words: list[str]) -> list[tuple[str, list[str]]]:
    """Options with the words that follow each: --a 1 --b=2 -> [(--a, [1]), (--b, [2])]."""
    options: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("-") and not _is_number(word):
            name, equals, value = word.partition("=")
            options.append((name, [value] if equals else []))
        elif options:
            options[-1][1].append(word)
        else:
            options.append(("", [word]))
    return options


def _spell(name: str, values: list[str]) -> list[str]:
    widths = ",".join(values)
    # --hidden is a list of widths; what --model.hidden is, the model knows.
    listed = name == "--hidden" or (name == "--model.hidden" and "," in widths)
    if listed and not widths.startswith("["):
        values = [f"[{widths}]"]
    name = SHORT_FLAGS.get(name, name)
    return ([name] if name else []) + values


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
