"""The entry point: which command a line names, and the exit code of every way it can end.

Nothing heavy is imported before it is known that something will be run.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches

from torchmlp._runtime.interruption import Interruption
from torchmlp._runtime.version import __version__
from torchmlp.cli.commands import COMMANDS
from torchmlp.cli.commands.command import Command
from torchmlp.cli.help import overview
from torchmlp.cli.terminal import streams
from torchmlp.cli.terminal.errors import UsageError, reason
from torchmlp.cli.terminal.exit_codes import DONE, FAILED, INTERRUPTED, USAGE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        arguments: the words after the program's name; None takes them from sys.argv.

    Returns:
        0 done; 1 failed, or gradients are wrong; 2 usage; 3 the run is numerically sick; 130
        Ctrl-C; 143 SIGTERM.
    """
    streams.open_closed()
    words = list(sys.argv[1:] if arguments is None else arguments)
    interruption = Interruption()
    with interruption.heard():
        try:
            code = _run(words, interruption)
            sys.stdout.flush()
        except UsageError as error:
            code = _print_error(f"error: {error}", USAGE)
        except KeyboardInterrupt:
            code = _print_error(f"{interruption.word} before training began", INTERRUPTED)
        except BrokenPipeError:
            code = FAILED  # stdout is closed (piped into `head`)
        except OSError as error:
            code = _print_error(f"error: {reason(error)}", FAILED)
        except BaseException:
            # What a signal has broken off may have been caught and turned into anything.
            if interruption.number is None:
                raise
    streams.let_go()
    return code if interruption.number is None else interruption.exit_code


def _print_error(line: str, code: int) -> int:
    with suppress(OSError):  # there is nowhere else to say it
        print(line, file=sys.stderr, flush=True)  # noqa: T201  the program's words
    return code


def _run(words: list[str], interruption: Interruption) -> int:
    if words[:1] == ["--version"]:
        print(f"torchmlp {__version__}")  # noqa: T201  the program's output
        return DONE
    if words[:1] in (["-h"], ["--help"]):
        print(overview(COMMANDS.values()), end="")  # noqa: T201  the program's output
        return DONE
    command, rest = _command(words)
    if command.asks_for_help(rest):
        print(command.help(), end="")  # noqa: T201  the program's output
        return DONE
    return command.run(rest, interruption)


def _command(words: list[str]) -> tuple[Command, list[str]]:
    """The command that a line names, fit where it names none, and its words."""
    if not words or words[0].startswith("-"):
        return COMMANDS["fit"], words
    if words[0] not in COMMANDS:
        near = get_close_matches(words[0], COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"unknown command {words[0]!r}{hint}\nCommands: {', '.join(COMMANDS)}")
    return COMMANDS[words[0]], words[1:]
