"""Other people's code in a process of its own: a hang, an exit or a flood of memory ends there."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchmlp.foreign.attempts import Attempt
from torchmlp.foreign.probe import Probe
from torchmlp.foreign.records import load

SECONDS = 20.0
SOURCE = re.compile(r"(.*\.(?:py|ipynb|npz))(?::(.*))?")  # FILE and NAME of FILE.py:NAME


@dataclass
class Findings:
    """What a process found in a file.

    Attributes:
        probes: every way of calling a network in it.
        attempts: what could not be called.
        names: functions and classes that the file defines.
        skipped: names left unset, with the line that would have set them.
        error: why nothing was found, "" where something was.
        where: file and line of the error, "" where it is not known.
    """

    probes: list[Probe] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    error: str = ""
    where: str = ""


class Asking:
    """A file that is being asked, in a process of its own; meanwhile one may do something else."""

    def __init__(
        self, path: Path, name: str | None, hidden: Sequence[int] | None, seconds: float = SECONDS
    ) -> None:
        self._seconds = seconds
        self._folder = tempfile.TemporaryDirectory(prefix="torchmlp-")
        self._out = Path(self._folder.name) / "found.npz"
        widths = "-" if hidden is None else ",".join(map(str, hidden))
        root = str(Path(__file__).parents[2])
        # One thread: many small products, in two processes on few cores.
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                     "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg"}  # fmt: skip
        variables["PYTHONPATH"] = os.pathsep.join(
            [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        # -P: a file called random.py beside the user's is not the library's.
        words = [str(path), name or "", str(self._out), str(seconds), widths]
        self._process = subprocess.Popen(  # noqa: S603  that is what the file is handed over for
            [sys.executable, "-P", "-m", "torchmlp.foreign", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=variables,
            start_new_session=True,
        )  # fmt: skip

    def findings(self) -> Findings:
        """What was found; waits for it no longer than the time limit."""
        try:
            self._process.wait(self._seconds + 10)  # its imports are not the user's time
            return self._read()
        except subprocess.TimeoutExpired:
            return Findings(
                error=f"it did not end within {self._seconds:g} seconds and was stopped"
            )
        finally:
            self.close()

    def _read(self) -> Findings:
        try:
            found: dict[str, Any] = load(self._out)
            return Findings(**found)
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return Findings(error=_ended(self._process.returncode))

    def close(self) -> None:
        """End the process and everything it started in its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        self._folder.cleanup()


_BEGUN: dict[str, Asking] = {}


def begin(source: str) -> None:
    """Ask a file at once, with nothing else said, while the caller loads what judging takes."""
    match = SOURCE.fullmatch(source)
    if match and not source.endswith(".npz") and Path(match[1]).is_file():
        _BEGUN[source] = Asking(Path(match[1]), match[2] or None, None)


def begun(source: str, hidden: Sequence[int] | None, seconds: float) -> Asking | None:
    """The asking of a file that `begin` has begun in the same way; None where it has not."""
    plain = hidden is None and seconds == SECONDS
    return _BEGUN.pop(source, None) if plain else None


def end_begun() -> None:
    """End what was begun and not asked for."""
    while _BEGUN:
        _BEGUN.popitem()[1].close()


def _ended(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            return f"its process was ended by {name} (too much memory or time, or a crash)"
    return f"its code ended the process, with exit code {code}, before it was verified"
