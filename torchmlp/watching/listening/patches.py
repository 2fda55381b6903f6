"""Replacing attributes for a while, and putting back what was there."""

import functools
from collections.abc import Callable
from typing import Any

# A file of this name is none of the user's to Python's warnings: a warning that means the caller
# of a replaced function is told at the caller's line, as if nothing was replaced.
HIDDEN = "<frozen importlib._bootstrap_of_torchmlp>"


def hidden(replacement: Any) -> Any:
    """The function itself, which Python's warnings no longer take for a caller."""
    replacement.__code__ = replacement.__code__.replace(co_filename=HIDDEN)
    return replacement


class Patches:
    """Attributes that were replaced: `undo` puts back every one that nobody replaced since."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, Any, Any]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Put `make(original)` in an attribute's place; what the owner lacks is left alone."""
        original = vars(owner).get(name)
        if original is None:
            return
        replacement = functools.wraps(original)(hidden(make(original)))
        setattr(owner, name, replacement)
        self._made.append((owner, name, original, replacement))

    def undo(self, only: tuple[Any, str] | None = None) -> None:
        """Put the originals back, the last replaced first; or only that of (owner, name)."""
        for owner, name, original, replacement in reversed(self._made):
            if only in (None, (owner, name)) and vars(owner).get(name) is replacement:
                setattr(owner, name, original)
        self._made = [made for made in self._made if only not in (None, made[:2])]
