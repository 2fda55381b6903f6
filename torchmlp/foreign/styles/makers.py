"""Networks made by the code itself: by a constructor or an initialiser, from sizes."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torchmlp.foreign.calling import words
from torchmlp.foreign.calling.binding import UnboundError, bind, signature
from torchmlp.foreign.calling.sessions import quiet
from torchmlp.foreign.calling.slots import FixedWidthsError
from torchmlp.foreign.styles.structure import sizes

SIZES = ("sizes", "inputs", "hidden", "hiddens", "outputs", "activation")  # set over a default too
_LONGER = (8, 11, 9, 12, 10, 14)  # hidden layers, where the number of sizes says how many


def made(maker: Callable[..., Any], widths: Sequence[int], known: Mapping[str, Any]) -> Any:
    """What a constructor or an initialiser makes of the sizes of a network.

    Its parameters are sizes by their names, with one hidden size or a list of them; or by their
    places: one list of all, or a number for each layer.

    Args:
        maker: a class or a function.
        widths: sizes of input, hidden layers and output.
        known: further values by role: a rate, a seed, the batch.

    Raises:
        FixedWidthsError: it takes another number of sizes.
        Exception: whatever the code raises where no way fits; UnboundError among it.
    """
    values = {**known, **sizes(widths), "activation": "sigmoid", "seed": 0}
    lists = {**values, "hidden": list(widths[1:-1])}
    roles = _roles(maker)
    by_place: Callable[[], Any] = partial(_by_place, maker, widths, values)

    def by_role(
        known: Mapping[str, Any], roles: Callable[[str], str | None] = roles
    ) -> Callable[[], Any]:
        return lambda: bind(maker, known, roles=roles, also=SIZES)()  # noqa: PLW0108  binds later

    ways = [by_role(values), by_role(lists), by_place, by_role(values, words.role)]
    if _takes_any_number(maker):
        ways = [by_place]
    first: Exception | None = None
    for way in ways:
        try:
            with quiet():
                return way()
        except FixedWidthsError:
            raise
        except Exception as error:  # noqa: BLE001  whatever somebody's code raises
            first = first or error
    assert first is not None
    raise first


def _roles(maker: Callable[..., Any]) -> Callable[[str], str | None]:
    """The role of a name, seen by its default too: a number is one size, a list several."""
    try:
        defaults = {n: p.default for n, p in inspect.signature(maker).parameters.items()}
    except (TypeError, ValueError):
        defaults = {}

    def role(name: str) -> str | None:
        if name in ("x", "X", "y", "Y"):
            return words.role(name)
        found, default = words.size_role(name), defaults.get(name)
        if found in ("sizes", "hiddens") and isinstance(default, int):
            return "hidden"
        return "hiddens" if found == "hidden" and isinstance(default, (list, tuple)) else found

    return role


def _takes_any_number(maker: Callable[..., Any]) -> bool:
    """Whether it is Network(*sizes)."""
    try:
        parameters = list(inspect.signature(maker).parameters.values())
    except (TypeError, ValueError):
        return False
    return bool(parameters) and parameters[0].kind is parameters[0].VAR_POSITIONAL


def _by_place(maker: Callable[..., Any], widths: Sequence[int], known: Mapping[str, Any]) -> Any:
    if _takes_any_number(maker):
        return maker(*widths)
    found = signature(maker)
    others = ("lr", "reg", "epochs", "seed", "activation", "batch_size", "quiet", "x", "y", "pairs")
    names = [n for n in found.required if words.role(n) not in others] if found else []
    if not names:
        raise UnboundError("none of its parameters is a size")
    if len(names) > 1 and len(names) != len(widths):
        raise FixedWidthsError([widths[0], *_LONGER[: len(names) - 2], widths[-1]])
    given = list(widths) if len(names) > 1 else [list(widths)]
    return bind(maker, {**known, **dict(zip(names, given, strict=True))})()
