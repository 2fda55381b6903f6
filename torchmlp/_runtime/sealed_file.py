"""torch.save's files with a checksum of the whole, which is verified before anything is read."""

import hashlib
import os
import pickle
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from torchmlp._runtime.atomic_file import atomic_writer
from torchmlp._runtime.read_errors import UNREADABLE

# The checksum is the comment that ends the zip: torch.load and unzip read the file as any other.
_WORDS = b"torchmlp sha256 "
_DIGITS = 2 * hashlib.sha256().digest_size
_SEAL = len(_WORDS) + _DIGITS
_BEGINS, _ENDS, _END = b"PK\3\4", b"PK\5\6", 22  # a zip, its last record and that one's bytes


class DamagedFileError(ValueError):
    """A file that is not what was written, or cannot be told to be; says which and why."""


def save_sealed(values: Any, path: Path) -> None:
    """torch.save with a checksum, whole or not at all.

    Raises:
        OSError: it cannot be written; what stood at `path` is untouched.
    """
    with atomic_writer(path) as file:
        written = _Written(file)
        try:
            torch.save(values, cast("BinaryIO", written))
        except RuntimeError:
            if written.error is None:
                raise
            raise written.error from None  # torch speaks of positions in the file
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", _SEAL) + _WORDS)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.write(digest.encode())


def load_sealed(path: Path) -> Any:
    """What `save_sealed` wrote, or torch.save; no code in it is run.

    Tensors come to the CPU.

    Raises:
        OSError: it cannot be read.
        DamagedFileError: it is not what was written: the checksum is another, or without one the
            zip's own of each part; or it holds what weights_only=True refuses.
    """
    with _opened(path) as file:
        check_sealed(file, path)
        file.seek(0)
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise DamagedFileError(
                f"{path} holds more than tensors and plain values (a whole pickled module?); save "
                f"model.state_dict() instead"
            ) from error
        except Exception as error:  # its content is anything
            raise DamagedFileError(f"{path} cannot be read by torch.load ({error})") from error


def is_whole(path: Path) -> bool:
    """Whether a file is what was written."""
    try:
        with _opened(path) as file:
            check_sealed(file, path)
    except (OSError, DamagedFileError):
        return False
    return True


def check_sealed(file: BinaryIO, path: Path) -> None:
    """Compare an open file with its checksum, or with those of its parts where it has none.

    Raises:
        DamagedFileError: they differ, or it is no zip that torch.save has written.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _SEAL))
    seal = file.read()
    file.seek(0)
    if not seal.startswith(_WORDS):
        _check_parts(file, path, seal, size)
        return
    digest, left = hashlib.sha256(), size - _DIGITS
    while left and (chunk := file.read(min(left, 1 << 20))):
        digest.update(chunk)
        left -= len(chunk)
    if digest.hexdigest().encode() != seal[len(_WORDS) :]:
        raise DamagedFileError(f"{path} is damaged: its checksum is another")


def _check_parts(file: BinaryIO, path: Path, tail: bytes, size: int) -> None:
    # Nothing may follow the last record: it could be a checksum that has suffered.
    end = tail[-_END:]
    if file.read(4) != _BEGINS or not end.startswith(_ENDS) or end[-2:] != b"\0\0":
        raise DamagedFileError(f"{path} is damaged, or no file of torch.save's")
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            # torch.save packs nothing; what does may unpack to any size.
            is_packed = sum(part.file_size for part in parts) > size
            wrong = None if is_packed else archive.testzip()
    except UNREADABLE as error:
        raise DamagedFileError(f"{path} is damaged ({error})") from error
    if is_packed:
        raise DamagedFileError(f"{path} is no file of torch.save's: its parts are packed")
    if wrong is not None:
        raise DamagedFileError(f"{path} is damaged: the checksum of {wrong} is another")


def _opened(path: Path) -> BinaryIO:
    if not stat.S_ISREG(path.stat().st_mode):
        raise DamagedFileError(f"{path} is no regular file")
    return path.open("rb")


class _Written:
    """A file that remembers why it could not be written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        """Write; torch makes a RuntimeError of whatever this raises."""
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Nothing: the file is flushed once, at its end."""
