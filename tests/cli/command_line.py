"""Running the command line: in this process, which is quick, or in one of its own."""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests import ROOT
from tests.children import child
from torchmlp.cli import main

TRAIN = ROOT / "train.py"

# A run of a second: the digits that ship, nine batches per epoch, a small network.
SMALL = (
    *("--data.source", "embedded", "--batch_size", "500", "--hidden", "8"),
    *("--max_epochs", "1", "--trainer.enable_model_summary", "false"),
)
NO_SUMMARY = ("--trainer.enable_model_summary", "false")


class Result(NamedTuple):
    """What a command left its caller."""

    code: int
    out: str
    err: str


@contextlib.contextmanager
def _as_before(folder: Path) -> Iterator[None]:
    """Runs from a folder; afterwards the process is what it was."""
    argv, here, environment = sys.argv, Path.cwd(), dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    path = list(sys.path)
    sys.argv = ["train.py"]
    os.chdir(folder)
    try:
        with warnings.catch_warnings():
            # Python shows these to nobody who has not asked for them.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            yield
    finally:
        os.chdir(here)
        sys.argv, sys.path[:] = argv, path
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def run(folder: Path, *words: object, warnings_are_errors: bool = True) -> Result:
    """Runs a command line in this process; a warning that it does not expect is an error."""
    out, err = io.StringIO(), io.StringIO()
    with _as_before(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if not warnings_are_errors:
            warnings.simplefilter("default", UserWarning)
        code = main([str(word) for word in words])
    return Result(code, out.getvalue(), err.getvalue())


def start(folder: Path, *words: object, **environment: str) -> subprocess.Popen[str]:
    """Starts `python train.py` in a process of its own, which no network answers."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    return child(
        [sys.executable, str(TRAIN), *map(str, words)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **nowhere, **environment},
    )


def wait_for(process: subprocess.Popen[str], seconds: float = 120) -> Result:
    """What the process left when it ended."""
    out, err = process.communicate(timeout=seconds)
    return Result(process.returncode, out, err)


def newest_run(folder: Path) -> Path:
    """The folder of the last run below `folder`."""
    runs = (folder / "lightning_logs").glob("version_*")
    return max(runs, key=lambda path: int(path.name.removeprefix("version_")))
