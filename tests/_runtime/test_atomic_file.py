import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.disks import full_disk
from torchmlp._runtime.atomic_file import atomic_writer, sweep, temporary_folder, write_atomically


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    """Until then nothing stands under its name; folders are made."""
    path = tmp_path / "deep" / "file"
    with atomic_writer(path) as file:
        file.write(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"
    assert list(path.parent.iterdir()) == [path]


def _written_half(path: Path, error: BaseException) -> None:
    with atomic_writer(path) as file:
        file.write(b"new")
        raise error


def test_what_ends_early_leaves_the_old_file(tmp_path: Path) -> None:
    """An error or Ctrl-C half way, and a disk that is full: the old content is there, alone."""
    path = tmp_path / "file"
    write_atomically(path, "old")
    for error in (ValueError("half way"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            _written_half(path, error)
    with full_disk(100), pytest.raises(OSError, match=f"{path} not written: File too large"):
        write_atomically(path, "new" * 1000)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import sys, time
from pathlib import Path
from torchmlp._runtime.atomic_file import temporary_folder, atomic_writer

with atomic_writer(Path("file")) as file, temporary_folder(Path("folder")) as folder:
    file.write(b"half")
    (folder / "inside").touch()
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_what_a_killed_writer_has_left_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while it lives, however long it takes; once it is dead, and no file of anybody else's."""
    others = {tmp_path / name for name in ("mine.part", "film.mkv.part", "a.0123456.part")}
    for path in others:
        path.touch()
    command = [sys.executable, "-c", WRITER]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        left = set(tmp_path.iterdir()) - others
        assert len(left) == 2
        later = time.time() + 1000
        monkeypatch.setattr(time, "time", lambda: later)
        sweep(tmp_path)
        assert set(tmp_path.iterdir()) == left | others
        writer.send_signal(signal.SIGKILL)
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == others


def test_what_has_just_been_made_is_not_swept(tmp_path: Path) -> None:
    """Its writer may not have locked it yet."""
    fresh, stale = (tmp_path / f"file.{k * 8}.part" for k in "ab")
    for path in (fresh, stale):
        path.touch()
    os.utime(stale, (1e9, 1e9))
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [fresh]


def test_a_passing_folder_passes(tmp_path: Path) -> None:
    """It is gone afterwards, with what was left in it, and may have been moved away."""
    with temporary_folder(tmp_path / "a") as folder:
        (folder / "file").touch()
    assert not list(tmp_path.iterdir())
    with temporary_folder(tmp_path / "a") as folder:
        folder.replace(tmp_path / "a")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_without_locks_of_files_everything_is_imported_and_written(tmp_path: Path) -> None:
    """Windows has no fcntl: the map, checkpoints and shards are there all the same."""
    program = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from pathlib import Path\n"
        "from torchmlp._runtime.atomic_file import sweep, write_atomically\n"
        "import torchmlp.stability.map.store, torchmlp._runtime.sealed_file, torchmlp.data.shards\n"
        "folder = Path(sys.argv[1]); write_atomically(folder / 'a', 'text'); sweep(folder)\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
