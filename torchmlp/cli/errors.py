"""Turning what the libraries say of a user's mistake into one to three lines."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from torchmlp.cli.program import program


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
    for unknown in (
        r"unrecognized arguments: ([^\s=]+)",
        r"[Oo]ption '([\w.]+)' is not accepted",
        r"does not accept option '(\w+)",
    ):
        if found := re.search(unknown, message):
            return unknown_option(found[1], options)
    key = (re.findall(r'[Pp]arser key "([\w.]+)"', message) or [""])[-1]
    value = (re.findall(r"(?:Got value|Given value): (.*)", message) or [""])[-1].strip()
    if key in classes and "import path" in message:
        value = (re.findall(r"'class_path': '(.*?)'", value) or [value])[0]  # from a configuration
        return f"{key}: unknown class {value!r}{_hint(value, classes[key])}"
    choices = re.findall(r"'([\w.-]+)'", " ".join(re.findall(r"Literal\[(.*?)\]", message)))
    if key and choices:
        return f"{key}: expected one of {', '.join(dict.fromkeys(choices))}; got {value!r}"
    kinds = dict.fromkeys(re.findall(r"Expected an? <class '([\w.]+)'>", message))
    if key and kinds:
        names = " or ".join(_plain(kind) for kind in kinds if kind != "NoneType")
        return f"{key}: expected {names}, got {value!r}"
    return short(message)


def innermost(message: str) -> str:
    """The one cause in a report on alternatives none of which fits; else the message itself.

    jsonargparse lists what each alternative of an optional class objected to; "is not None" is one
    of the objections, what the class itself said is the other.
    """
    _, listed, causes = message.partition("Errors:\n")
    if not listed:
        return message
    items = re.split(r"\n\s*(?:- |Given )", "\n" + causes)
    said = [item for item in items if item.strip() and not re.match(r"Expected an? |value", item)]
    return short(said[0]) if said else message


def short(message: str, lines: int = 3) -> str:
    """The first non-empty lines of a message."""
    kept = [" ".join(line.split()) for line in message.splitlines() if line.strip()]
    return "\n".join(line[:300] for line in kept[:lines])


def unknown_option(name: str, options: Iterable[str]) -> str:
    """The message for an option nobody knows, with the nearest there is.

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
