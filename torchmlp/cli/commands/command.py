"""What a command is: an entry of the table."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.parsing.arguments import rewrite
from torchmlp.cli.parsing.option_help import option_help
from torchmlp.cli.running.purpose import Purpose
from torchmlp.cli.terminal.program import program


@dataclass(frozen=True)
class Command:
    """A word of the command line, and what it does.

    Attributes:
        name: the word.
        summary: in a few words, for the list of all commands.
        text: its own help, with {program} for the program's name.
        run: does it, with the words after the name, and returns the exit code. It raises
            `UsageError` for a line that it does not take.
        lists_options: whether all options of LightningCLI follow in the help.
        runs_script: whether its words end in a script and the script's own.
    """

    name: str
    summary: str
    text: str
    run: Callable[[list[str], Interruption], int]
    lists_options: bool = False
    runs_script: bool = False

    def asks_for_help(self, words: list[str]) -> bool:
        """Whether the words after the command ask for its help, and not for a script's."""
        own = takewhile(lambda word: word.startswith("-"), words) if self.runs_script else words
        return bool({"-h", "--help"} & {*own})

    def help(self) -> str:
        """What --help prints; nothing that takes long to import is needed for it."""
        said = self.text.replace("{program}", program())
        return f"{said}\n{option_help(self.name)}" if self.lists_options else said


def run_configured(words: list[str], purpose: Purpose, interruption: Interruption) -> int:
    """Configure a run from LightningCLI's words, the command first, and do something with it."""
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
