"""The options there are, read from the sources of the classes with `ast`: nothing is imported."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from torchmlp.cli.parsing.arguments import SHORT_FLAGS

# Where each section's settings are written down: top-level package, file in it, class.
SECTIONS = {
    "model": ("torchmlp", "lightning/classifier.py", "Classifier"),
    "data": ("torchmlp", "lightning/datamodule.py", "ImageDataModule"),
    "stop": ("torchmlp", "lightning/callbacks/stopping.py", "Stopping"),
    "trainer": ("pytorch_lightning", "trainer/trainer.py", "Trainer"),
}
OTHERS = {
    "config": "a YAML file, or the name of one that ships; several add up",
    "print_config": "print every setting with its value, as YAML",
    "help": "this",
    "seed_everything": "the seed of every random number generator",
    "optimizer": "a class of torch.optim; its settings as --optimizer.lr",
    "lr_scheduler": "a class of torch.optim.lr_scheduler, or torchmlp.OneCycle",
    "health": "whether a HealthMonitor watches a fit",
}


@dataclass(frozen=True)
class Option:
    """A parameter of a class.

    Attributes:
        name: the parameter's.
        default: as it is written; "" for none.
        text: what the docstring says of it.
    """

    name: str
    default: str
    text: str


def known_settings(section: str, command: str) -> set[str] | None:
    """The names in a section, or with section "" those outside any; None if they cannot be told."""
    found = options_of(section) if section else options_of("trainer", command)
    if found is None:
        return None
    names = {option.name for option in found}
    return names if section else {*OTHERS, *SECTIONS, *names}


def known_options(command: str) -> list[str]:
    """Every option there is, for hints."""
    deeper = [f"--{s}.{option.name}" for s in SECTIONS for option in options_of(s) or ()]
    top = [f"--{name}" for name in known_settings("", command) or ()]
    return [*SHORT_FLAGS, *top, *deeper]


@cache
def options_of(section: str, method: str = "__init__") -> tuple[Option, ...] | None:
    """The parameters of a section's class, or of a method; None where they cannot all be told."""
    package, file, owner = SECTIONS[section]
    try:
        spec = find_spec(package)  # a package of the top level is found, not imported
        tree = ast.parse((Path((spec and spec.origin) or "").parent / file).read_bytes())
    except (OSError, ValueError, SyntaxError):
        return None
    for kind in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for node in ast.walk(kind):
            if kind.name == owner and isinstance(node, ast.FunctionDef) and node.name == method:
                return _parameters(node, _described(kind) | _described(node))
    return None


def _parameters(function: ast.FunctionDef, texts: dict[str, str]) -> tuple[Option, ...] | None:
    found = function.args
    if found.kwarg:
        return None
    positional = found.args[1:]
    defaults = [None] * (len(positional) - len(found.defaults)) + [*found.defaults]
    pairs = [*zip(positional, defaults, strict=True)]
    pairs += [*zip(found.kwonlyargs, found.kw_defaults, strict=True)]
    return tuple(Option(a.arg, ast.unparse(d) if d else "", texts.get(a.arg, "")) for a, d in pairs)


def _described(owner: ast.ClassDef | ast.FunctionDef) -> dict[str, str]:
    """What the section Args of a docstring says of each parameter, first paragraphs."""
    _, _, text = (ast.get_docstring(owner) or "").partition("Args:\n")
    text = re.split(r"\n\n?\S", "\n" + text)[0]
    found = {}
    for name, words in re.findall(r"\n    (\w+): (.*(?:\n(?:     .*|$))*)", text):
        said = " ".join(words.split("\n\n")[0].split())
        found[name] = re.sub(r"``([^`]*)``", r"\1", re.sub(r":\w+:`~?([^`]*)`", r"\1", said))
    return found
