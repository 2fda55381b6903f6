"""Looking a thing up by the name a user typed."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")
HELD_BY_LOSSES = {"softmax": "cross_entropy", "log_softmax": "cross_entropy"}


def find(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of `table` called `name`.

    Args:
        kind: what the table holds, in the singular, for the message: "activation".
        name: what the user asked for.
        table: everything there is, by name.

    Raises:
        ValueError: there is no such name; the message gives the nearest one and the whole list.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    if kind == "activation" and isinstance(name, str) and name in HELD_BY_LOSSES:
        raise ValueError(
            f"unknown activation {name!r}: the loss {HELD_BY_LOSSES[name]} holds it and reads "
            f"logits; let the last layer be 'identity'"
        )
    near = get_close_matches(str(name).lower(), table, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {kind} {name!r};{hint} expected one of: {', '.join(table)}")
