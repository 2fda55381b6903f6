"""The command line. Nothing heavy is imported before it is known that something will be run."""

import gc
import sys
from collections.abc import Sequence
from contextlib import suppress

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli import streams
from torchmlp.cli.commands import diagnose as diagnose_command
from torchmlp.cli.commands import map as map_command
from torchmlp.cli.errors import UsageError, reason
from torchmlp.cli.exit_codes import DONE, FAILED, INTERRUPTED, USAGE
from torchmlp.cli.help import HELP
from torchmlp.cli.parsing.arguments import rewrite

# Commands that reuse fit's configuration.
INSTEAD = {"diagnose": diagnose_command, "map": map_command}


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
            code = _told(f"error: {error}", USAGE)
        except KeyboardInterrupt:
            code = _told(f"{interruption.word} before training began", INTERRUPTED)
        except BrokenPipeError:
            code = FAILED  # stdout is closed (piped into `head`)
        except OSError as error:
            code = _told(f"error: {reason(error)}", FAILED)
        except BaseException:
            # What a signal has broken off may have been caught and turned into anything.
            if interruption.number is None:
                raise
    streams.let_go()
    return code if interruption.number is None else interruption.exit_code


def _told(line: str, code: int) -> int:
    with suppress(OSError):  # there is nowhere else to say it
        print(line, file=sys.stderr, flush=True)  # noqa: T201
    return code


def _run(words: list[str], interruption: Interruption) -> int:
    command = INSTEAD.get(words[0]) if words else None
    if words in (["-h"], ["--help"]) or (command and {"-h", "--help"} & set(words)):
        print(command.HELP if command else HELP, end="")  # noqa: T201  the program's output
        return DONE
    if words[:1] == ["verify"]:
        from torchmlp.cli.running.verify import verify  # noqa: PLC0415  needs torch, not Lightning

        _collect_again()
        return verify(words[1:])
    if words[:1] == ["report"]:
        _collect_again()
        return diagnose_command.report(words[1:])
    instead = None
    if words and (command := INSTEAD.get(words[0])):
        instead, words = command.split(words[1:])
    words = rewrite(words)
    # Lightning's launcher for several devices starts sys.argv again.
    sys.argv[1:] = words
    from torchmlp.cli.parsing.early_checks import check  # noqa: PLC0415  needs yaml, which `verify` does not

    check(words)
    interruption.at_once = True
    from torchmlp.cli.running.run import run  # noqa: PLC0415  takes seconds; a usage error should not

    interruption.at_once = False
    _collect_again()
    return run(words, instead, interruption)


def _collect_again() -> None:
    """Switch the garbage collector on, where train.py has switched it off for the imports.

    Freeze the objects created by the imports: they live until exit.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
