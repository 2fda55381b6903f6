"""Running a script and watching its training loop."""

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from torchmlp._runtime.atomic_file import write_atomically
from torchmlp.cli.terminal.errors import UsageError, reason
from torchmlp.cli.terminal.exit_codes import DONE, FAILED, INTERRUPTED, SICK
from torchmlp.foreign.source.cells import SourceError
from torchmlp.watching import watch as watched_block
from torchmlp.watching.listening import functions, listener
from torchmlp.watching.listening.patches import HIDDEN
from torchmlp.watching.report import WatchReport
from torchmlp.watching.script import Script


def watch(options: argparse.Namespace) -> int:
    """Run the script of the command line, and say what is wrong in its loop.

    Returns:
        3 where a mistake was found, 1 where the script raised, else the script's own exit code.

    Raises:
        UsageError: the file is no Python, or its report cannot be written.
    """
    to_json = (
        None if options.json is None else options.json.absolute()
    )  # the script may go elsewhere
    block = watched_block(options.steps, fix=options.fix, at_end=_say)
    code, file = DONE, os.path.join(Path.cwd(), options.script[0])  # noqa: PTH118  as Python has it
    try:
        script = Script(options.script[0])
        with block:
            script.run(options.arguments)
    except SourceError as error:
        raise UsageError(f"watch: {error}") from None
    except SystemExit as error:
        code = _code_of(error)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException as error:  # noqa: BLE001  whatever a script raises is shown as Python would
        _show(error, (file, options.script[0]))
        code = FAILED
    report = block.report
    if not block.was_told:
        _say(report)
    if to_json is not None:
        try:
            write_atomically(to_json, report.to_json() + "\n")
        except OSError as error:
            raise UsageError(f"watch: --json: {reason(error)}") from None
    if code in (FAILED, INTERRUPTED):
        return code
    return code if report.healthy else SICK


def _say(report: WatchReport) -> None:
    # The script may have closed its output, or nobody reads it: then there is nowhere to say it.
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with suppress(OSError, ValueError, AttributeError):
        print(f"\n{report}", file=sys.stderr, flush=True)  # noqa: T201  the program's output


def _code_of(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or DONE
    print(error.code, file=sys.stderr)  # noqa: T201  as Python does
    return FAILED


def _show(error: BaseException, script: tuple[str, ...]) -> None:
    """Show what a script has raised as Python would: nothing of this program is in it."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(script):
        trace = trace.tb_next
    error.__traceback__ = trace
    _clean(error, set())
    sys.excepthook(type(error), error, error.__traceback__)


def _clean(error: BaseException | None, seen: set[int]) -> None:
    """Take the frames that stand between a script and torch out of its tracebacks."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    error.__traceback__ = _without_ours(error.__traceback__)
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        _clean(other, seen)


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    frames = []
    while trace is not None:
        if trace.tb_frame.f_code.co_filename not in _OURS:
            frames.append(trace)
        trace = trace.tb_next
    for frame in reversed(frames):
        trace = TracebackType(trace, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return trace


_OURS = frozenset({HIDDEN, listener.__file__, functions.__file__})
