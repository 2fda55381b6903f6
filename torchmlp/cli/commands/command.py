"""What a command is: an entry of the table."""

import gc
from collections.abc import Callable
from dataclasses import dataclass

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.running.purpose import Purpose


@dataclass(frozen=True)
class Command:
    """A word of the command line, and what it does.

    Attributes:
        name: the word.
        summary: in a few words, for the list of all commands.
        help: its own help; nothing that takes long to import is needed for it.
        run: does it, with the words after the name, and returns the exit code. It raises
            `UsageError` for a line that it does not take.
    """

    name: str
    summary: str
    help: Callable[[], str]
    run: Callable[[list[str], Interruption], int]


def run_configured(words: list[str], purpose: Purpose, interruption: Interruption) -> int:
    """Configure a run from LightningCLI's words, the command first, and do something with it."""
    from torchmlp.cli.parsing.arguments import rewrite  # noqa: PLC0415
    from torchmlp.cli.parsing.early_checks import check  # noqa: PLC0415  needs yaml

    words = rewrite(words)
    check(words)
    interruption.at_once = True
    from torchmlp.cli.running.run import run  # noqa: PLC0415  seconds; a usage error takes none

    interruption.at_once = False
    imports_are_done()
    return run(words, purpose, interruption)


def imports_are_done() -> None:
    """Switch the garbage collector on, where the program has switched it off for its imports.

    Freeze the objects created by the imports: they live until exit.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
