"""SIGTERM, where nothing else takes it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torchmlp.cli.exit_codes import TERMINATED


@contextmanager
def sigterm_ends() -> Iterator[None]:
    """Within, SIGTERM raises SystemExit: files are closed, processes ended, and the code is 143."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: Any) -> None:
    del number, frame
    raise SystemExit(TERMINATED)
