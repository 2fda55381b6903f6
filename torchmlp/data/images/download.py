"""Download a file, with its checksum verified and its time limited."""

import hashlib
import logging
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from torchmlp._runtime.atomic_file import atomic_writer
from torchmlp.data.errors import DataError

# A server that delivers less than STALL_BYTES in STALL_S seconds is given up, be it while its name
# is looked up, on connecting or in the middle of the file. (torchvision itself waits for ever.)
STALL_S = 15.0
STALL_BYTES = 64 * 1024

_log = logging.getLogger(__name__)


class _FailedError(Exception):
    """What was wrong with one URL, in few words."""


def download(urls: Sequence[str], path: Path, md5: str) -> None:
    """Download a file from the first of its mirrors that delivers the right bytes.

    Args:
        urls: the same file at several mirrors, tried in this order.
        path: where the file goes, once its checksum has been found right; until then nothing is
            there.
        md5: its checksum.

    Raises:
        DataError: when no mirror delivers; the message has a few words on each.
        OSError: when the file cannot be written.
    """
    failures = []
    for url in urls:
        try:
            _download_one(url, path, md5)
        except _FailedError as error:
            failures.append(f"{url}: {error}")
        else:
            return
    raise DataError("; ".join(failures))


def _download_one(url: str, path: Path, md5: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    with atomic_writer(path) as file:
        _log.info("downloading %s", url)
        for chunk in _chunks(url):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        if digest.hexdigest() != md5:
            found = digest.hexdigest()
            raise _FailedError(f"wrong content: {size} bytes with MD5 {found}, expected {md5}")


def _chunks(url: str) -> Iterator[bytes]:
    """The bytes behind a URL as they arrive; raises _FailedError on an error or a stall.

    A thread receives, this one watches the clock: a socket's timeout starts anew with every byte
    and every address that the name has, and does not cover looking it up.
    """
    inbox: queue.SimpleQueue[bytes | _FailedError] = queue.SimpleQueue()
    abandoned = threading.Event()
    threading.Thread(target=_receive, args=(url, inbox, abandoned), daemon=True).start()
    try:
        arrived, deadline = 0, time.monotonic() + STALL_S
        while True:
            try:
                message = inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise _FailedError(f"stalled: {arrived} bytes in {STALL_S:g} s") from None
            if isinstance(message, _FailedError):
                raise message
            if not message:
                return
            yield message
            arrived += len(message)
            if arrived >= STALL_BYTES:
                arrived, deadline = 0, time.monotonic() + STALL_S
    finally:
        abandoned.set()


def _receive(
    url: str, inbox: "queue.SimpleQueue[bytes | _FailedError]", abandoned: threading.Event
) -> None:
    """Put the bytes behind a URL into the inbox, then b"" for the end, or the error that came."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "torchmlp"})  # noqa: S310
        # The timeout only ends a thread that nobody listens to any more.
        with urllib.request.urlopen(request, timeout=2 * STALL_S) as response:  # noqa: S310
            while not abandoned.is_set() and (chunk := response.read1(STALL_BYTES)):
                inbox.put(chunk)
            if response.length:
                inbox.put(_FailedError(f"cut off, {response.length} bytes are missing"))
        inbox.put(b"")
    except urllib.error.HTTPError as error:
        error.close()
        inbox.put(_FailedError(f"HTTP {error.code} {error.reason}"))
    except urllib.error.URLError as error:
        inbox.put(_FailedError(str(error.reason)))
    except Exception as error:  # noqa: BLE001 (the other thread is told, whatever it is)
        inbox.put(_FailedError(f"{type(error).__name__}: {error}"))
