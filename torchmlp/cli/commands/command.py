"""What a command is: an entry of the table."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torchmlp._runtime.interruption import Interruption


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


@dataclass(frozen=True)
class Purpose:
    """What is done with a model, data and trainer once a command line has configured them.

    Attributes:
        action: (configured run, Lightning's arguments) -> exit code; imports what it needs.
        trains: whether it fits, with a monitor, and keeps a checkpoint when it is interrupted.
        has_run_folder: whether it writes into a run's folder, lightning_logs/version_N.
    """

    action: Callable[[Any, dict[str, Any]], int]
    trains: bool = False
    has_run_folder: bool = True


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
