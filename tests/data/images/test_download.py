import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from tests.data.fake_datasets import fake_dataset, md5
from tests.data.local_server import (
    Answer,
    cut,
    serving,
    silent,
    trickling,
    trickling_headers,
    whole,
)
from torchmlp.data import DataError, EmbeddedDataWarning, load_images
from torchmlp.data.images import download as module
from torchmlp.data.images.download import download

CONTENT = os.urandom(200_000)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_writes_the_file_under_its_name_and_readable_by_others(tmp_path: Path) -> None:
    """The file arrives whole, in a folder made for it, with ordinary permissions, alone."""
    with serving({"/f": whole(CONTENT)}) as server:
        download([f"{server.url}f"], tmp_path / "new" / "f", md5(CONTENT))
    assert (tmp_path / "new" / "f").read_bytes() == CONTENT
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "plain", tmp_path / "new/f")}
    assert len(modes) == 1
    assert names(tmp_path / "new") == ["f"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            whole(b"other"), rf"wrong content: 5 bytes with MD5 {md5(b'other')}", id="wrong"
        ),
        pytest.param(whole(b""), "wrong content: 0 bytes", id="empty"),
        pytest.param(cut(CONTENT), "cut off, 100000 bytes are missing", id="cut"),
        pytest.param(None, "HTTP 404 Not Found", id="404"),
    ],
)
def test_a_bad_answer_is_told_and_leaves_nothing(
    tmp_path: Path, answer: Answer | None, expected: str
) -> None:
    """Wrong bytes never get the file's name; the older file stays; the next mirror is tried."""
    target = tmp_path / "f"
    target.write_bytes(b"older")
    with serving({"/good": whole(CONTENT)} | ({"/f": answer} if answer else {})) as server:
        bad, good = f"{server.url}f", f"{server.url}good"
        with pytest.raises(DataError, match=f"{bad}: {expected}.*; {bad}: {expected}"):
            download([bad, bad], target, md5(CONTENT))
        assert names(tmp_path) == ["f"]
        assert target.read_bytes() == b"older"
        download([bad, good], target, md5(CONTENT))
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(silent, id="silent"),
        pytest.param(trickling(CONTENT, 1000, 0.02), id="trickling"),
        pytest.param(trickling_headers, id="trickling-headers"),
    ],
)
def test_a_stalled_server_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """Less than 64 KiB in the time limit is a stall, even where bytes keep coming."""
    monkeypatch.setattr(module, "STALL_S", 0.5)
    with serving({"/f": answer}) as server:
        begin = time.monotonic()
        with pytest.raises(DataError, match=r"stalled: \d+ bytes in 0.5 s"):
            download([f"{server.url}f"], tmp_path / "f", md5(CONTENT))
        assert time.monotonic() - begin < 2
    assert names(tmp_path) == []


def test_a_slow_server_that_makes_progress_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is on progress, not on the whole file, and the file's end may be short of it."""
    monkeypatch.setattr(module, "STALL_S", 0.8)
    monkeypatch.setattr(module, "STALL_BYTES", 1000)
    content = CONTENT[:20_100]
    with serving({"/f": trickling(content, 1000, 0.06)}) as server:
        download([f"{server.url}f"], tmp_path / "f", md5(content))
    assert (tmp_path / "f").read_bytes() == content


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """An interrupted download leaves no part of a file."""
    main = threading.main_thread().ident
    assert main is not None
    with serving({"/f": trickling(CONTENT, 100, 0.01)}) as server:
        threading.Timer(0.4, signal.pthread_kill, (main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            download([f"{server.url}f"], tmp_path / "f", md5(CONTENT))
    assert names(tmp_path) == []


def test_nobody_there(tmp_path: Path) -> None:
    """A refused connection and an unknown host are told in the system's words."""
    with pytest.raises(DataError, match=r"(?i)nowhere.invalid/f: .*name"):
        download(["http://nowhere.invalid/f"], tmp_path / "f", md5(CONTENT))
    with pytest.raises(DataError, match="refused"):
        download(["http://127.0.0.1:9/f"], tmp_path / "f", md5(CONTENT))


@pytest.mark.parametrize("dataset", ["mnist", "kmnist", "emnist_letters", "usps"])
def test_a_data_set_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    """Missing files come from the server; a second load asks nobody; a damaged one is replaced."""
    answers: dict[str, Answer] = {}
    with serving(answers) as server:
        fake = fake_dataset(monkeypatch, dataset, [server.url])
        answers |= {f"/{Path(name).name}": whole(gz) for name, gz in fake.archives.items()}
        for _ in range(2):
            images = load_images(dataset, tmp_path)
            assert images.source == "full"
            assert images.train_images.equal(fake.tensors[0])
            assert len(server.asked) == len(fake.archives)
        for name in fake.archives:
            (tmp_path / name).write_bytes(b"damaged")
        if dataset != "mnist":  # whose unpacked files are trusted by themselves
            assert load_images(dataset, tmp_path).train_images.equal(fake.tensors[0])
            assert len(server.asked) == 2 * len(fake.archives)


def test_stops_at_the_first_archive_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both mirrors are asked for one file, not for four; auto then says why it falls back."""
    with serving({}) as server:
        fake_dataset(monkeypatch, "mnist", [f"{server.url}a/", f"{server.url}b/"])
        with pytest.warns(EmbeddedDataWarning, match="a/train-images.*404.*b/train-images.*404"):
            images = load_images("mnist", tmp_path)
        assert server.asked == [f"/{mirror}/train-images-idx3-ubyte.gz" for mirror in "ab"]
    assert images.source == "embedded"
