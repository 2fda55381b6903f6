"""`watch`: which mistake is in a training loop?"""

import argparse
import os
from pathlib import Path

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.commands.command import Command, imports_are_done
from torchmlp.cli.parsing.option_parser import OptionParser, check_steps
from torchmlp.cli.terminal.errors import UsageError
from torchmlp.cli.terminal.program import program

TEXT = """\
{program} watch script.py [its arguments]  a script as it stands
{program} watch notebook.ipynb             its cells, in order

Runs the script as Python would, and listens to torch while it trains: modules,
backward passes, optimizers, schedulers, losses, loaders. What is wrong in the
loop is named, with the line of your code, the numbers seen and the change:
gradients that are never cleared, parameters that no optimizer has, a model
left in evaluation mode, shapes that are broadcast, and sixteen more. If the
loop is right, its model, loss, optimizer and first batches are looked at by
themselves, as diagnose does. What the script prints and computes stays the
same; the report is written to the standard error.

  --steps N       watch so many optimizer steps, report, and go on unwatched
  --json FILE     write the findings too, as JSON
  --fix           where the loop is right: try changes on copies afterwards,
                  and print the code of the best

Options of watch stand before the script, its own arguments after it.
Exit codes: 0 nothing found (the script's own code, if it has one), 3 a mistake
was found, 1 the script raised, 2 usage
"""


def _run(words: list[str], interruption: Interruption) -> int:
    options = _options(words)  # a usage error is told before torch is loaded
    interruption.at_once = True
    from torchmlp.cli.actions.watch import watch  # noqa: PLC0415  imports torch

    interruption.at_once = False
    imports_are_done()
    with interruption.left_to_python():
        return watch(options)


def _options(words: list[str]) -> argparse.Namespace:
    """The options before the script, the script, and its own arguments.

    Raises:
        UsageError: an option that is unknown or has no value, no script, or a --json that cannot
            be written.
    """
    parser = OptionParser("watch")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--fix", action="store_true")
    parser.add_argument("script", nargs=argparse.REMAINDER)  # the rest is the script's own
    options, _ = parser.parse_words(words, beside_fit=False)
    if options.steps is not None:
        check_steps("watch", options.steps)
    if not options.script or options.script[0].startswith("-"):
        what = f"unknown option {options.script[0]}" if options.script else "expected a script"
        raise UsageError(f"watch: {what}; see {program()} watch --help")
    options.path, options.arguments = Path(options.script[0]), options.script[1:]
    if not options.path.is_file():
        kind = "it is a folder" if options.path.is_dir() else "there is no such file"
        raise UsageError(f"watch: expected a script or notebook, got {options.path}: {kind}")
    if options.json is not None:
        _check_writable(options.json.absolute())
    return options


def _check_writable(path: Path) -> None:
    """Tell now, and not after hours of training.

    Raises:
        UsageError: there is no such folder, or nothing can be written there.
    """
    if not path.parent.is_dir():
        raise UsageError(f"watch: --json: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        what = "it is a folder" if path.is_dir() else f"{path.parent} is not writable"
        raise UsageError(f"watch: --json: expected a file to write, got {path}: {what}")


COMMAND = Command(
    "watch", "which mistake is in your own training loop?", TEXT, _run, runs_script=True
)
