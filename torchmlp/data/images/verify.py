"""Verify a data set's files by checksum; unpack or download what is missing."""

import gzip
import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from torchmlp._runtime.atomic_file import atomic_writer, sweep
from torchmlp.data.errors import DataError
from torchmlp.data.images.download import download
from torchmlp.data.images.registry import HOMES, TITLES, Archive, RawFile, archives

_CHUNK = 1 << 20


def check_root(dataset: str, root: Path) -> None:
    """Refuse a folder that holds other things than data sets: it is not ours to fill.

    Raises:
        DataError: it is no folder, or holds something and none of the folders and files of the data
            sets known here.
    """
    if not root.exists():
        return
    title = TITLES[dataset]
    if not root.is_dir():
        raise DataError(f"{title}: the data folder {root} is no folder.\nWay out: name one.")
    try:
        there = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    except OSError:
        return  # told where it is read
    if there and not HOMES & {name.partition(".")[0] for name in there}:
        some = ", ".join(there[:3]) + ", ..." * (len(there) > 3)  # noqa: PLR2004
        raise DataError(
            f"{title}: the data folder {root} holds other things ({some}) and no data set that is "
            f"known here; nothing was written into it.\n"
            "Way out: name a folder that is empty, new or holds MNIST/raw, or take the digits "
            "that ship with torchmlp (--data.source embedded)."
        )


def prepare_files(dataset: str, root: Path, *, allow_download: bool) -> None:
    """Verify a data set's files, and unpack or download those that are missing or wrong.

    A file is right if its size and MD5 are the known ones (MNIST, and every archive), or if the
    archive beside it is right and names the file's size and CRC-32.

    Raises:
        DataError: when a file is missing or wrong and cannot be had. It stops at the first, so that
            an unreachable network costs the time of one archive.
    """
    needed = archives(dataset, root)
    try:
        for archive in needed:
            _prepare(archive, TITLES[dataset], allow_download=allow_download)
    except OSError as error:
        raise DataError(
            f"{TITLES[dataset]}: the data folder {root} cannot be used: {error}\n"
            "Way out: name a folder that can be read and written."
        ) from error


def _prepare(archive: Archive, title: str, *, allow_download: bool) -> None:
    faults = [fault for raw in archive.raw_files if (fault := _known_fault(raw))]
    if archive.raw_files and not faults:
        return
    sweep(archive.path.parent)
    if archive_fault := _md5_fault(archive.path, archive.md5):
        what = "; ".join([*faults[:1], archive_fault])
        remedy = (
            f"Way out: put the original {archive.path.name} into {archive.path.parent}"
            " (it is checked and unpacked)"
        )
        if not allow_download:
            raise DataError(f"{title}: {what}.\n{remedy}, or allow the download.")
        try:
            download(archive.urls, archive.path, archive.md5)
        except DataError as error:
            raise DataError(
                f"{title}: {what}.\n"
                f"Download failed: {error}.\n"
                f"{remedy}, or try again with a network."
            ) from error
    for raw in archive.raw_files:
        if not _is_unpacked(raw, archive):
            with _unpacked(raw, archive) as content, atomic_writer(raw.path) as file:
                shutil.copyfileobj(content, file, _CHUNK)


def _md5_fault(path: Path, md5: str, size: int | None = None) -> str | None:
    """What is wrong with a file of known MD5 and perhaps known size in bytes, or None."""
    try:
        found_size = path.stat().st_size
    except FileNotFoundError:
        return f"{path} is missing"
    if found_size != size and (size is not None or found_size == 0):
        return f"{path} has {found_size} bytes" + ("" if size is None else f", expected {size}")
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    found = digest.hexdigest()
    return None if found == md5 else f"{path} has MD5 {found}, expected {md5}"


def _known_fault(raw: RawFile) -> str | None:
    """What is wrong with an unpacked file, as told without its archive, or None if it is right."""
    if raw.known:
        size, md5 = raw.known
        return _md5_fault(raw.path, md5, size)
    if raw.path.exists():
        return f"{raw.path} can be verified only beside its archive"
    return f"{raw.path} is missing"


@contextmanager
def _compressed(raw: RawFile, archive: Archive) -> Iterator[IO[bytes]]:
    if raw.member is None:
        with archive.path.open("rb") as file:
            yield file
    else:
        with zipfile.ZipFile(archive.path) as outer, outer.open(raw.member) as file:
            yield file


@contextmanager
def _unpacked(raw: RawFile, archive: Archive) -> Iterator[gzip.GzipFile]:
    # gzip raises at the end of the file unless size and CRC-32 are those of the trailer.
    with _compressed(raw, archive) as file, gzip.open(file) as unpacked:
        yield unpacked


def _is_unpacked(raw: RawFile, archive: Archive) -> bool:
    """Whether the unpacked file has the CRC-32 and size that end its .gz (RFC 1952, 2.3.1)."""
    if not raw.path.exists():
        return False
    with _compressed(raw, archive) as file:
        file.seek(-8, 2)
        trailer = file.read()
    crc = 0
    with raw.path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    size = raw.path.stat().st_size % 2**32
    return trailer == crc.to_bytes(4, "little") + size.to_bytes(4, "little")
