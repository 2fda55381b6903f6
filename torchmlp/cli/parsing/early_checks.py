"""Checks of the command line that run before Lightning is imported.

Whatever is in doubt (a user's own class, a source that cannot be read, an option's deeper parts) is
left to the parser: nothing may be refused here that it would accept.
"""

import re
from difflib import get_close_matches

from torchmlp.cli.parsing.arguments import configurations_in, names_in, value_of
from torchmlp.cli.parsing.options import SECTIONS, known_options, known_settings
from torchmlp.cli.parsing.yaml_file import read_configuration
from torchmlp.cli.terminal.errors import UsageError, unknown_option

OF_EVERY_CLASS = {"help", "class_path", "init_args", "dict_kwargs"}

# Flat flags that take a number: what the parser calls them and what it says it expects. YAML's own
# words, such as null and .inf, are the parser's to judge.
NUMBERS = {
    "--trainer.max_epochs": ("trainer.max_epochs", "an integer"),
    "--data.batch_size": ("batch_size", "an integer"),
    "--optimizer.lr": ("lr", "a number"),
    "--seed_everything": ("seed_everything", "true or false or an integer"),
}
YAML_WORDS = ("null", "none", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf")
ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps", "tpu")
# Settings that torch, without Lightning, is enough to judge.
JUDGED = ("activation", "output_activation", "init", "loss")


def check(words: list[str]) -> None:
    """Refuse a command line, rewritten by `rewrite`, that the parser would refuse.

    Raises:
        UsageError: an option or key of a configuration that there is not, a configuration that is
            not YAML, a word where a flat flag takes a number, a mistyped accelerator, an unknown
            activation, initial weights or loss.
    """
    given = names_in(words)
    # Who asks for help gets it, whatever stands beside; what follows a lone -- is no option.
    if any(re.match(r"--$|-h|--print_config|--(.*\.)?help", name) for name in given):
        return
    names = [name for name in given if name.startswith("--") and " " not in name]
    # Configurations may name other classes; `-cFILE` is one too.
    configured = any(re.match("-c|--config", name) for name in given)
    own = {
        section
        for section in ("model", "data", "optimizer")
        if configured or {f"--{section}", f"--{section}.class_path"} & set(names)
    }
    for name in names:
        _check_name(words[0], name, own)
    for path in configurations_in(words):
        _check_configuration(words[0], path, own)
    for option, (name, kind) in NUMBERS.items():
        value = value_of(words, option) or ""
        is_word = re.fullmatch("[A-Za-z]+", value) and value.lower() not in YAML_WORDS
        if is_word and option[2:].partition(".")[0] not in own:
            raise UsageError(f"{name}: expected {kind}, got {value!r}")
    value = value_of(words, "--trainer.accelerator") or ""
    # A class of the user's, anything with a dot, may register an accelerator as it is imported.
    values = [word.partition("=")[2] if word.startswith("-") else word for word in words]
    may_register = configured or any("." in value for value in values)
    if (
        not may_register
        and value not in ACCELERATORS
        and get_close_matches(value, ACCELERATORS, 1, 0.7)
    ):
        known = ", ".join(ACCELERATORS)
        raise UsageError(f"trainer.accelerator: expected one of {known}; got {value!r}")
    if "model" not in own:
        _check_model({name: value_of(words, f"--model.{name}") or "" for name in JUDGED})


def _check_model(settings: dict[str, str]) -> None:
    """Refuse names, or a name with numbers, that the model would refuse; torch is imported."""
    plain = {
        name: value
        for name, value in settings.items()
        if re.fullmatch(r"[a-z_]+(\(.*\))?", value) and value not in YAML_WORDS
    }
    if not plain:
        return
    from torchmlp.kernels.activations import ACTIVATIONS  # noqa: PLC0415  they import torch
    from torchmlp.kernels.init import parse_init  # noqa: PLC0415
    from torchmlp.kernels.losses import LOSSES  # noqa: PLC0415
    from torchmlp.kernels.names import find  # noqa: PLC0415

    try:
        for name, value in plain.items():
            if name == "init":
                parse_init(value)
            else:
                find(name.removeprefix("output_"), value, LOSSES if name == "loss" else ACTIVATIONS)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_name(command: str, name: str, own: set[str]) -> None:
    """Refuse an option there is not: `--trainer.max_epoch`, or `modell` in a configuration."""
    section, _, rest = name.lstrip("-").partition(".")
    section, setting = section.rstrip("+"), rest.partition(".")[0].rstrip("+")
    if section not in (known_settings("", command) or [section]):
        raise UsageError(unknown_option(name, known_options(command)))
    if not setting or section in own or section not in SECTIONS:
        return
    if setting not in {*OF_EVERY_CLASS, *(known_settings(section, command) or [setting])}:
        # The parser speaks of a class's argument without its section.
        spoken = setting if section in ("model", "data") else name
        raise UsageError(unknown_option(spoken, known_options(command)))


def _check_configuration(command: str, path: str, own: set[str]) -> None:
    settings = read_configuration(path)
    if settings is not None and not isinstance(settings, dict):
        raise UsageError(
            f"--config: expected a YAML file with sections such as model: and data:, {path} holds "
            f"{type(settings).__name__}"
        )
    for section, value in (settings or {}).items():
        if section in SECTIONS and value is not None and not isinstance(value, dict | str):
            raise UsageError(f"{section}: expected settings with their names, got {value!r:.80}")
    for key, value in (settings or {}).items():
        _check_name(command, str(key), own)
        if key in ("trainer", "stop") and isinstance(value, dict):
            for name in value:
                _check_name(command, f"--{key}.{name}", own)
