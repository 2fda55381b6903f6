"""Atomic writes: a file or folder is there whole, or not at all."""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed and needs no lock
    fcntl = None  # type: ignore[assignment]

# How a name ends under which something is written: given here, and by nobody else.
_OURS = re.compile(r".\.[0-9a-f]{8}\.part")
STALE_S = 5.0


@contextmanager
def atomic_writer(path: Path) -> Iterator[BufferedRandom]:
    """Write a file atomically: renamed into place when it is complete and on the disk.

    It is written under a temporary name in the same folder, which is made if need be. Whatever ends
    the writing early, Ctrl-C included, removes it, and an older file at `path` stays as it was;
    what kill -9 has left is removed by `sweep`.

    Raises:
        OSError: it cannot be written; `strerror` names the file and says why.
    """
    part = _part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile: its files can be read by their owner only, and a data folder is shared.
        with part.open("x+b") as file:
            _lock(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"{path} not written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text, in UTF-8, whole or not at all.

    Raises:
        OSError: as `atomic_writer` does.
    """
    with atomic_writer(path) as file:
        file.write(text.encode())


@contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """A folder with a temporary name beside a path, to move its content from; it is removed then.

    Raises:
        OSError: it cannot be made.
    """
    part = _part_of(beside)
    part.mkdir(parents=True)
    handle = os.open(part, os.O_RDONLY)
    try:
        _lock(handle)
        yield part
    finally:
        os.close(handle)
        shutil.rmtree(part, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed writes have left in a folder; what is being written stays."""
    for path in folder.glob("*.part"):
        if _OURS.search(path.name):
            with suppress(OSError):
                _remove_stale(path)


def _remove_stale(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        # A writer holds the lock until it ends, however it ends; it takes it just after it has made
        # the file.
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - os.fstat(handle).st_mtime < STALE_S:
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(handle)


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")


def _lock(handle: int) -> None:
    # A disk without locks is one where nothing is swept either.
    with suppress(OSError, AttributeError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
