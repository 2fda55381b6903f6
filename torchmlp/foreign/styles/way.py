"""A way to call somebody's code: what every style comes down to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torchmlp.foreign.calling.layouts import Form, Sample
from torchmlp.foreign.calling.sessions import Script, Session


@dataclass(frozen=True)
class Way:
    """A way to call a candidate.

    Attributes:
        start: makes a fresh session at a sample's parameters; raises where this way does not fit.
        script: what is called.
        form: how it takes a batch.
        depth: the number of layers, where the code fixes that alone; None where it does not.
        text: what the parameters are taken for.
        many: it takes a list of samples although each is `form.one`.
    """

    start: Callable[[Sample], Session]
    script: Script
    form: Form
    depth: int | None = None
    text: str = ""
    many: bool = False


@dataclass(frozen=True)
class Candidate:
    """A network in a file.

    Attributes:
        name: of the function or class, as FILE.py:NAME would name it.
        tier: the order in which candidates are tried; of the first that works the others of the
            same tier are rivals, those of later ones are not.
        ways: the ways to call it, the likeliest first.
        signature: the function's or constructor's, as an error shows it.
        part: which part of it, where several belong to one network; "" for the whole.
    """

    name: str
    tier: int
    ways: Sequence[Way]
    signature: str = ""
    part: str = ""
