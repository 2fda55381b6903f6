"""Turning what the libraries say of a user's mistake into one to three lines."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from torchmlp._compat.jsonargparse_messages import (
    choices_in,
    class_path_in,
    key_in,
    kinds_in,
    objections_in,
    unknown_option_in,
    value_in,
    wants_a_class,
)
from torchmlp.cli.terminal.program import program


class UsageError(Exception):
    """A command line or configuration that cannot be run; its text is what the user reads."""


def reason(error: BaseException) -> str:
    """What an error says, without its number, and of what file."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def explain(message: str, options: Iterable[str], classes: Mapping[str, Iterable[str]]) -> str:
    """The parser's complaint in one to three lines.

    Args:
        message: what jsonargparse says.
        options: every option there is, with its dashes.
        classes: for each option that takes a class (without dashes), the names it knows.
    """
    if (cause := innermost(message)) != message:
        return cause
    if unknown := unknown_option_in(message):
        return unknown_option(unknown, options)
    key, value = key_in(message), value_in(message)
    if key in classes and wants_a_class(message):
        value = class_path_in(value)
        return f"{key}: unknown class {value!r}{_hint(value, classes[key])}"
    if key and (choices := choices_in(message)):
        return f"{key}: expected one of {', '.join(choices)}; got {value!r}"
    if key and (kinds := kinds_in(message)):
        names = " or ".join(_plain(kind) for kind in kinds if kind != "NoneType")
        return f"{key}: expected {names}, got {value!r}"
    return short(message)


def innermost(message: str) -> str:
    """The one cause in a report on alternatives none of which fits; else the message itself."""
    said = objections_in(message)
    return short(said[0]) if said else message


def short(message: str, lines: int = 3) -> str:
    """The first non-empty lines of a message."""
    kept = [" ".join(line.split()) for line in message.splitlines() if line.strip()]
    return "\n".join(line[:300] for line in kept[:lines])


def unknown_option(name: str, options: Iterable[str]) -> str:
    """The message for an unknown option, with the nearest known one.

    `--max_steps` is as near to `--trainer.max_steps` as can be: the last part of the name counts.
    """
    by_tail = {option.lstrip("-").rsplit(".", 1)[-1]: option for option in sorted(options)}
    tail = name.lstrip("-").replace("-", "_").rsplit(".", 1)[-1]
    near = [by_tail[match] for match in get_close_matches(tail, by_tail, n=1)]
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown option {name}{hint}\nAll options: {program()} fit --help"


def _hint(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else "; expected a class, as package.module.Class"


def _plain(kind: str) -> str:
    words = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "text"}
    return words.get(kind, "a list" if kind.endswith("Sequence") else kind)
