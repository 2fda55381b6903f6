"""Arrays in .npz and IDX files: where their rows lie, and reading some of them."""

import gzip
import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped

from torchmlp._runtime.read_errors import UNREADABLE
from torchmlp.data.errors import DataError

_CHUNK = 1 << 20
# Nothing that gzip packs gets smaller: https://zlib.net/zlib_tech.html. Beyond, a header is wrong.
_MAX_RATIO = 1032
_IDX_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, whose first axis counts samples.

    Attributes:
        path: the file.
        member: the array's file in an .npz archive; None for an IDX file.
        compressed: whether it is, so that only all of it can be read.
        start: bytes before the first row; where compressed, of what is unpacked.
        dtype: as stored, big-endian perhaps.
        shape: samples first.
    """

    path: Path
    member: str | None
    compressed: bool
    start: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def read(self, rows: Int64[np.ndarray, " n"]) -> Shaped[np.ndarray, "n ..."]:
        """These rows, given in ascending order, of an array that is not compressed.

        Raises:
            DataError: when the file cannot be read, or is shorter than it was.
        """
        # Not np.memmap: the pages it touches count as this process's memory while they are cached.
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        bytes_per_row = math.prod(self.shape[1:]) * self.dtype.itemsize
        # A run of neighbours is one read.
        bounds = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        with _wrap_read_errors(self.path), self.path.open("rb") as file:
            for first, last in pairwise(bounds):
                file.seek(self.start + int(rows[first]) * bytes_per_row)
                _fill(values[first:last], file)
        return values

    def load(self) -> Shaped[np.ndarray, "n ..."]:
        """All of the array; a compressed one is compared with its archive's checksum.

        Raises:
            DataError: when the file cannot be read, is damaged, or holds more or less than it says.
        """
        if not self.compressed:
            return self.read(np.arange(self.shape[0]))
        with _wrap_read_errors(self.path), _stream(self.path, self.member, compressed=True) as file:
            file.read(self.start)
            values = np.empty(self.shape, self.dtype)
            _fill(values, file)
            # The checksum is looked at where the file ends.
            if file.read(1):
                raise EOFError(f"there is more in it than an array of shape {self.shape}")
        return values


def npz_array(path: Path, name: str) -> StoredArray:
    """An array of an .npz file, from its header.

    Raises:
        DataError: when the file is missing or damaged, or has no such array.
    """
    member = f"{name}.npy"
    with _wrap_read_errors(path), zipfile.ZipFile(path) as archive:
        if member not in archive.namelist():
            found = ", ".join(entry.removesuffix(".npy") for entry in archive.namelist())
            raise DataError(
                f"{path} holds {found or 'nothing'}, expected arrays named inputs and targets.\n"
                "Way out: write it with write_shards, or np.savez(file, inputs=..., targets=...)."
            )
        info = archive.getinfo(member)
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, by_columns, dtype = read_header(file)
            start = file.tell()
        if by_columns and len(shape) > 1:
            raise ValueError(f"{name} are stored by columns; write np.ascontiguousarray({name})")
        _check_size(info.file_size, start, dtype, shape)
    compressed = info.compress_type != zipfile.ZIP_STORED
    if not compressed:
        # The member follows its local header: 30 bytes, its name, and what else the writer put in.
        with _wrap_read_errors(path), path.open("rb") as raw:
            raw.seek(info.header_offset + 26)
            start += info.header_offset + 30 + sum(struct.unpack("<HH", raw.read(4)))
    return StoredArray(path, member, compressed, start, dtype, shape)


def idx_array(path: Path) -> StoredArray:
    """The array of an IDX file, raw or gzip'ed, from its header.

    Raises:
        DataError: when the file is missing, or not as long as its header says.
    """
    with _wrap_read_errors(path):
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
        with _stream(path, None, compressed=compressed) as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES:  # noqa: PLR2004
                raise ValueError(
                    f"it begins with the bytes {magic.hex(' ') or '(none)'}, expected an IDX file's"
                    " 00 00, type code and number of dimensions"
                )
            dtype, rank = np.dtype(_IDX_DTYPES[magic[2]]), magic[3]
            shape = struct.unpack(f">{rank}I", file.read(4 * rank))
        size = path.stat().st_size
        if not compressed:
            _check_size(size, 4 + 4 * rank, dtype, shape)
        elif math.prod(shape) * dtype.itemsize > _MAX_RATIO * size:
            raise EOFError(f"{size} bytes are too few for an array of shape {shape}")
    return StoredArray(path, None, compressed, 4 + 4 * rank, dtype, shape)


def _check_size(found: int, start: int, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    expected = start + math.prod(shape) * dtype.itemsize
    if found != expected:
        raise EOFError(f"{found} bytes, expected {expected} for {dtype} of shape {shape}")


def check_array(where: str, role: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Whether training takes such an array for inputs, or for targets."""
    if role == "inputs":
        expected = "uint8 pixels or floating values, one sample per row"
        native = dtype.newbyteorder("=")
        right = len(shape) > 0 and native in (np.uint8, np.float16, np.float32, np.float64)
    else:
        expected = "class indices: integers, one per sample"
        right = len(shape) == 1 and dtype.kind in "iu" and np.can_cast(dtype, np.int64)
    if not right:
        raise DataError(
            f"{where}: {role} are {dtype} of shape {shape}, expected {expected}.\n"
            "Way out: convert them, and write them again."
        )


@contextmanager
def _stream(path: Path, member: str | None, *, compressed: bool) -> Iterator[BufferedIOBase]:
    """The bytes of an array, header first, unpacked."""
    if member is not None:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            yield file  # type: ignore[misc]  # typeshed says IO; a ZipExtFile is one
    else:
        with gzip.open(path) if compressed else path.open("rb") as file:
            yield file


def _fill(values: np.ndarray, file: BufferedIOBase) -> None:
    """Read the next bytes into an array, a chunk at a time: unpackers make a copy of each."""
    content = values.reshape(-1).view(np.uint8)
    for first in range(0, len(content), _CHUNK):
        target = content[first : first + _CHUNK].data
        while target:
            count = file.readinto(target)
            if not count:
                raise EOFError(f"the file ends early, within an array of {len(content)} bytes")
            target = target[count:]


@contextmanager
def _wrap_read_errors(path: Path) -> Iterator[None]:
    """Say of every way a file can fail which file it is, and what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing.\nWay out: correct its name, or the list of shards."
        ) from error
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(
            f"{path} cannot be read, or is damaged: {error}.\n"
            "Way out: write or download it again, or leave it out. A shard is an .npz file "
            "or a pair of IDX files, (inputs, targets)."
        ) from error
