import io
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.disks import full_disk
from torchmlp._runtime.sealed_file import DamagedFileError, is_whole, load_sealed, save_sealed

VALUES: dict[str, Any] = {"weights": torch.arange(300.0), "step": 3, "names": ["a", "b"]}


def same(found: Any) -> bool:
    return bool(found["weights"].equal(VALUES["weights"])) and found["step"] == 3


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "sealed.pt"
    save_sealed(VALUES, path)
    return path


def test_it_is_a_file_like_any_of_torchs(sealed: Path) -> None:
    """torch.load reads it, mapped too, and a zip tool finds nothing wrong with it."""
    assert same(load_sealed(sealed))
    for mapped in (False, True):
        assert same(torch.load(sealed, weights_only=True, mmap=mapped))
    with zipfile.ZipFile(sealed) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"torchmlp sha256 ")


def test_a_file_without_a_checksum_is_read(tmp_path: Path) -> None:
    """As torch.save writes it."""
    torch.save(VALUES, tmp_path / "plain.pt")
    assert same(load_sealed(tmp_path / "plain.pt"))


def test_every_flipped_bit_is_seen(sealed: Path) -> None:
    """Each bit of the last 300 bytes, the checksum and its words among them, and bits of all the
    rest: no file with one of them changed is read."""
    whole = sealed.read_bytes()
    bits = [*range(8 * (len(whole) - 300), 8 * len(whole))]
    bits += random.sample(range(8 * (len(whole) - 300)), 1000)
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        sealed.write_bytes(damaged)
        assert not is_whole(sealed), bit


def test_every_cut_is_seen(sealed: Path) -> None:
    """A file of any other length is refused, but for the one that lacks nothing but a checksum."""
    whole = sealed.read_bytes()
    for size in [*range(0, len(whole), 41), *range(len(whole) - 200, len(whole))]:
        sealed.write_bytes(whole[:size])
        assert not is_whole(sealed), size
    sealed.write_bytes(whole + b"\0")
    assert not is_whole(sealed)


def test_damaged_content_of_a_plain_file_is_seen(tmp_path: Path) -> None:
    """Without a checksum of the whole, each part's own is looked at, as torch.load does not."""
    path = tmp_path / "plain.pt"
    torch.save(VALUES, path)
    content = bytearray(path.read_bytes())
    content[content.index(VALUES["weights"].numpy().tobytes()) + 500] ^= 1
    path.write_bytes(content)
    assert not same(torch.load(path, weights_only=True))
    with pytest.raises(DamagedFileError, match=r"plain.pt is damaged: the checksum of \S+/data/0"):
        load_sealed(path)


def test_a_bomb_is_refused_unopened(tmp_path: Path) -> None:
    """A small zip of gigabytes is no file of torch.save's."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(50_000_000))
    path = tmp_path / "bomb.pt"
    path.write_bytes(content.getvalue())
    assert path.stat().st_size < 100_000
    with pytest.raises(DamagedFileError, match="its parts are packed"):
        load_sealed(path)


class _Code:
    def __reduce__(self) -> Any:
        return print, ("run",)


def test_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that would call something when it is read is refused, and the way out is named."""
    path = tmp_path / "module.pt"
    torch.save({"model": _Code()}, path)
    with pytest.raises(DamagedFileError, match=r"save model\.state_dict\(\) instead"):
        load_sealed(path)
    assert capsys.readouterr().out == ""


def test_only_files_are_read(tmp_path: Path) -> None:
    """A folder, or a pipe that nobody writes to, is refused at once."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(DamagedFileError, match="is no regular file"):
            load_sealed(path)
        assert not is_whole(path)
    assert not is_whole(tmp_path / "missing")


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """The system's reason is told, not torch's "unexpected pos", and nothing is left."""
    path = tmp_path / "large.pt"
    values = [torch.zeros(2000) for _ in range(30)]
    with full_disk(), pytest.raises(OSError, match=f"{path} not written: File too large"):
        save_sealed(values, path)
    assert not list(tmp_path.iterdir())
