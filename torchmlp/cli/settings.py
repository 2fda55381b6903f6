"""Option names, read from the source with `ast` (no import)."""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from torchmlp.cli.parsing.arguments import SHORT_FLAGS

# Where each section's settings are written down: top-level package, file in it, class.
SECTIONS = {
    "trainer": ("pytorch_lightning", "trainer/trainer.py", "Trainer"),
    "stop": ("torchmlp", "lightning/callbacks/stopping.py", "Stopping"),
    "model": ("torchmlp", "lightning/classifier.py", "Classifier"),
    "data": ("torchmlp", "lightning/datamodule.py", "ImageDataModule"),
}
OTHERS = {
    *("config", "help", "print_config", "seed_everything", "optimizer", "lr_scheduler"),
    "health",
}


def known_settings(section: str, command: str) -> set[str] | None:
    """The names in a section, or with section "" those outside any; None if they cannot be told."""
    if section:
        return _parameters(section)
    arguments = _parameters("trainer", command)  # of Trainer.fit and its like
    return None if arguments is None else {*OTHERS, *SECTIONS, *arguments}


def known_options(command: str) -> list[str]:
    """Every option there is, for hints."""
    deeper = [f"--{section}.{name}" for section in SECTIONS for name in _parameters(section) or ()]
    top = [f"--{name}" for name in known_settings("", command) or ()]
    return [*SHORT_FLAGS, *top, *deeper]


@cache
def _parameters(section: str, method: str = "__init__") -> set[str] | None:
    """The names of a method's parameters, from the source; None where it cannot tell them all."""
    package, file, owner = SECTIONS[section]
    try:
        spec = find_spec(package)  # a package of the top level is found, not imported
        tree = ast.parse((Path((spec and spec.origin) or "").parent / file).read_bytes())
    except (OSError, ValueError, SyntaxError):
        return None
    for node in (n for c in tree.body if getattr(c, "name", "") == owner for n in ast.walk(c)):
        if isinstance(node, ast.FunctionDef) and node.name == method:
            found = node.args
            return None if found.kwarg else {a.arg for a in found.args[1:] + found.kwonlyargs}
    return None
