"""Attempts to call somebody's code: limited in time, and how far they came."""

import contextlib
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torchmlp.foreign.calling.binding import UnboundError
from torchmlp.foreign.calling.sessions import NoGradientsError
from torchmlp.foreign.calling.slots import FixedWidthsError


class TooSlowError(Exception):
    """A call that took longer than it may."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises `TooSlowError` in what computes for longer, in the main thread.

    Seconds are the process's own: on a loaded machine nothing is cut short. It is raised again and
    again until it gets out: other people's code may catch everything. Systems without such a timer
    have the time limit of the whole process alone.
    """
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def ring(number: int, frame: Any) -> None:
        del number, frame
        raise TooSlowError(f"it was stopped after {seconds:g} seconds")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@dataclass
class Attempt:
    """A candidate that could not be called.

    Attributes:
        name: the candidate's.
        signature: its parameters.
        error: what the most promising attempt raised.
        where: file and line of it, "" where none is known.
        tried: how many ways.
    """

    name: str
    signature: str
    error: str
    where: str
    tried: int


def is_of_shapes(error: Exception) -> bool:
    """Whether an error may be one of shapes that do not fit, or of a network of one output."""
    return not isinstance(error, (UnboundError, NameError, ImportError, FixedWidthsError))


def said(error: Exception) -> str:
    """An error in a line, as a message quotes it."""
    if not isinstance(error, UnboundError):
        return f"{type(error).__name__}: {error}"
    name = str(error)
    return f"nothing is known for its parameter {name}" if name.isidentifier() else name


def progress(error: Exception, files: Sequence[str]) -> int:
    """How far an attempt came: into the user's code, and how far down."""
    if isinstance(error, (UnboundError, FixedWidthsError)):
        return 0
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if isinstance(error, NoGradientsError):
        return 1
    return 2 + max((f.lineno or 0 for f in frames), default=0)


def place(error: Exception, files: Sequence[str]) -> str:
    """The user's file and line that an error came from, "" where it is none of his."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if not frames:
        return ""
    last = frames[-1]
    return f"{last.filename}, line {last.lineno}: {(last.line or '').strip()}"


def lines_run(call: Callable[[], Any], files: Sequence[str]) -> int:
    """How many lines of the user's files run before a call ends, or raises."""
    lines = 0

    def count(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        del argument
        if frame.f_code.co_filename not in files:
            return None
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        with contextlib.suppress(Exception):
            call()
    finally:
        sys.settrace(before)
    return lines
