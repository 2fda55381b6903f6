"""Ctrl-C and SIGTERM: how a program ends when it is told to.

A signal falls between any two lines: between an optimizer's step and the counter of steps, or into
a collective that other processes wait in. So a run that trains only takes note of it, and looks at
it where a checkpoint is whole. Whatever else is being done is broken off.

Nothing is imported that takes time: signals are heard before torch is there.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
BREAKING_OFF_S = 5.0  # what may take longer than this is left undone
# `timeout` and others signal a process and then its group: the same Ctrl-C, twice.
SAME_S = 0.1


class Interrupted(KeyboardInterrupt):
    """Breaks off what is being done, for a signal has come."""


class Interruption:
    """The first of the signals that ask the program to end, and what is done about it.

    Attributes:
        number: the signal, or None.
        waits: whether the program looks at `number` now and then; else it raises `Interrupted`.
        at_once: whether it ends the process at once: modules that are half imported turn an
            exception into anything.
        before_leaving: called where the process ends at once.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.waits = False
        self.at_once = False
        self.before_leaving: Callable[[], None] = lambda: None
        self._leaving = threading.Lock()

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that the signal has ended."""
        return 128 + (self.number or 0)

    @property
    def word(self) -> str:
        """What has happened, for the user."""
        return _word(self.number or signal.SIGINT)

    def look(self) -> None:
        """Break off where a signal has come.

        Raises:
            Interrupted: one has.
        """
        if self.number is not None:
            raise Interrupted(self.word)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Inside, signals come here; those that the process was told to ignore are ignored.

        A second Ctrl-C ends the process at once, and so does a first that has not broken off what
        is being done within `BREAKING_OFF_S`: the main thread may be in a call that does not end.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread can hear
            return
        read, write = os.pipe()
        os.set_blocking(write, False)
        before: dict[int, Any] = {}
        for number in map(int, WORDS):
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, self._come)
        woken = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        _HEARD.append((self, before))
        watch = threading.Thread(target=self._watch, args=(read,), daemon=True)
        watch.start()
        try:
            yield
        finally:
            _HEARD.pop()
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(write)
            watch.join()
            os.close(read)

    @contextmanager
    def left_to_python(self) -> Iterator[None]:
        """Inside, signals do what they do in any Python program: another's code is being run."""
        if threading.current_thread() is not threading.main_thread() or not _HEARD:
            yield
            return
        woken = signal.set_wakeup_fd(-1)
        before = {number: signal.getsignal(number) for number in _HEARD[-1][1]}
        for number in before:
            is_ctrl_c = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_ctrl_c else signal.SIG_DFL)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(woken, warn_on_full_buffer=False)

    def _come(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, between two of its lines."""
        del frame
        if self.number is not None:
            return
        self.number = number
        if self.at_once:
            self._leave(number)
        if not self.waits:
            raise Interrupted(self.word)

    def _watch(self, pipe: int) -> None:
        """In a thread of its own, which the operating system wakes whatever the main one does."""
        first, came, waited = 0, 0.0, 0.0
        while True:
            if self.waits:
                waited = time.monotonic()
            late = time.monotonic() - max(came, waited) > BREAKING_OFF_S
            if first and (late or self.at_once):
                self._leave(first)
            if not select.select([pipe], [], [], 0.2 if first else None)[0]:
                continue
            heard = os.read(pipe, 1)
            if not heard:
                return
            number = heard[0]
            if number not in WORDS:
                continue
            again = first and time.monotonic() - came > SAME_S
            if again and number == signal.SIGINT:
                self._leave(number)
            if not first:
                first, came = number, time.monotonic()

    def _leave(self, number: int) -> None:
        self._leaving.acquire()  # for good: two threads may get here, and one tells of it
        try:
            # Not through sys.stderr: the main thread may be in the middle of a line.
            os.write(2, f"{_word(number)}\n".encode())
            self.before_leaving()
        finally:
            os._exit(128 + number)


def _word(number: int) -> str:
    return WORDS[signal.Signals(number)]


_HEARD: list[tuple[Interruption, dict[int, Any]]] = []


def _as_before() -> None:
    """A forked process (a loader's worker) is not the program: it ends as any other."""
    if _HEARD:
        signal.set_wakeup_fd(-1)
        for number, handler in _HEARD[0][1].items():
            signal.signal(number, handler)


os.register_at_fork(after_in_child=_as_before)
