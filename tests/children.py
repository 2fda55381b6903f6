"""Processes that a test starts: ended, and their pipes closed, when the test is over."""

import os
import signal
import subprocess
from contextlib import suppress
from typing import Any

_STARTED: list[subprocess.Popen[str]] = []


def child(words: list[str], **settings: Any) -> subprocess.Popen[str]:
    """A process whose output is read as text."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process: subprocess.Popen[str] = subprocess.Popen(words, **{**pipes, **settings})
    _STARTED.append(process)
    return process


def end_all() -> None:
    """What a test that failed has left is no other test's affair."""
    while _STARTED:
        process = _STARTED.pop()
        if process.poll() is None:
            with suppress(OSError):
                leads = os.getpgid(process.pid) == process.pid
                (os.killpg if leads else os.kill)(process.pid, signal.SIGKILL)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()
