"""Standard output and error, also where they are closed or the disk is full."""

import os
import sys
from contextlib import suppress


def open_closed() -> None:
    """Give a process that was started without output or error (`>&-`) ones that lead nowhere.

    Python has None in their place, and the next file that is opened would get their number.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def let_go() -> None:
    """Drop what cannot be written, so that Python does not complain of it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError):  # a stream that is no file's
                handle = os.open(os.devnull, os.O_WRONLY)
                os.dup2(handle, stream.fileno())
                os.close(handle)


def say(line: str) -> None:
    """Print a line of the report."""
    print(line, flush=True)  # noqa: T201  the program's output
