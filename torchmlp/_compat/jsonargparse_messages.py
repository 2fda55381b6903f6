"""What jsonargparse says in English, taken apart; read in 4.53.

Where a later release words it otherwise, nothing is found, and the user reads its own words.
"""

import re


def unknown_option_in(message: str) -> str | None:
    """The option, or the name in a configuration, that no parser knows."""
    for words in (
        r"unrecognized arguments: ([^\s=]+)",
        r"[Oo]ption '([\w.]+)' is not accepted",
        r"does not accept option '(\w+)",
    ):
        if found := re.search(words, message):
            return found[1]
    return None


def key_in(message: str) -> str:
    """The setting that a message is about, "" where it names none."""
    return str((re.findall(r'[Pp]arser key "([\w.]+)"', message) or [""])[-1])


def value_in(message: str) -> str:
    """The value that was refused, "" where it names none."""
    return str((re.findall(r"(?:Got value|Given value): (.*)", message) or [""])[-1]).strip()


def wants_a_class(message: str) -> bool:
    """Whether the value should have been the path of a class."""
    return "import path" in message


def class_path_in(value: str) -> str:
    """The class of a value that is a class with its settings, as a configuration has it."""
    return str((re.findall(r"'class_path': '(.*?)'", value) or [value])[0])


def choices_in(message: str) -> list[str]:
    """The values there are to choose from, where there is a choice."""
    every = re.findall(r"'([\w.-]+)'", " ".join(re.findall(r"Literal\[(.*?)\]", message)))
    return list(dict.fromkeys(every))


def kinds_in(message: str) -> list[str]:
    """The types that would have done, by their names."""
    return list(dict.fromkeys(re.findall(r"Expected an? <class '([\w.]+)'>", message)))


def objections_in(message: str) -> list[str]:
    """What each alternative of a setting's type objected to; [] where there are no alternatives.

    That it is not None, as an optional one might be, is left out.
    """
    _, listed, causes = message.partition("Errors:\n")
    if not listed:
        return []
    items = re.split(r"\n\s*(?:- |Given )", "\n" + causes)
    return [item for item in items if item.strip() and not re.match(r"Expected an? |value", item)]
