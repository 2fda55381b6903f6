"""The command line before LightningCLI sees it: short flags, recipes by name, checkpoint last.

Pure functions of a list of strings. What they return is a fixed point, so that a process started
again with the rewritten line (Lightning's launcher for several devices does that) reads the same.
"""

from importlib.util import find_spec
from pathlib import Path

from torchmlp.cli.parsing.renamed_classes import renamed
from torchmlp.cli.terminal.errors import UsageError
from torchmlp.cli.terminal.program import program

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

    Args:
        arguments: the command, and the words after it.

    Raises:
        UsageError: a short flag without its value, a configuration file that is
            not there, or a command that needs a checkpoint and has none.
    """
    command, *rest = arguments
    options = [(name, renamed(_found(name, values))) for name, values in _with_values(rest)]
    wants_help = any(name in ("-h", "--help", "--print_config") for name, _ in options)
    for name, values in options:
        if name in SHORT_FLAGS and not values:
            raise UsageError(f"{name}: expected a value, as in: {program()} {command} {name} VALUE")
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


def recipes() -> dict[str, Path]:
    """The configurations that ship with the package, by name: "mnist", "debug/fast_run"."""
    spec = find_spec("torchmlp")
    folder = Path((spec and spec.origin) or "").parent / "configs"
    files = sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def _found(name: str, values: list[str]) -> list[str]:
    """The values of an option, a recipe's name as its file."""
    if name not in ("-c", "--config") or not values or Path(values[0]).exists():
        return values
    known = recipes()
    if values[0] not in known:
        raise UsageError(
            f"--config: expected a YAML file, found none at {values[0]}; those that ship are "
            f"{', '.join(known)}"
        )
    return [str(known[values[0]]), *values[1:]]


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
