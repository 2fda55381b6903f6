import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from torchmlp.lightning.run_folder import LOGS, loggers_for, new_run_folder, write_summary


def test_the_first_run_makes_the_folder(tmp_path: Path) -> None:
    """Also where the root does not exist yet."""
    assert new_run_folder(tmp_path / "new") == tmp_path / "new" / LOGS / "version_0"
    assert (tmp_path / "new" / LOGS / "version_0").is_dir()


def test_a_run_gets_the_next_number(tmp_path: Path) -> None:
    """One more than the largest, by value; gaps stay, and other names do not count."""
    for name in ("version_2", "version_10", "version_x", "version_", "notes"):
        (tmp_path / LOGS / name).mkdir(parents=True)
    assert new_run_folder(tmp_path).name == "version_11"
    assert new_run_folder(str(tmp_path)).name == "version_12"


def test_runs_started_together_get_their_own(tmp_path: Path) -> None:
    """Twenty at once, twenty folders."""
    with ThreadPoolExecutor(20) as pool:
        folders = list(pool.map(new_run_folder, [tmp_path] * 20))
    assert sorted(int(folder.name.removeprefix("version_")) for folder in folders) == list(
        range(20)
    )


def test_a_folder_taken_in_between_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may take the number after it was read."""
    (tmp_path / LOGS / "version_0").mkdir(parents=True)
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    assert new_run_folder(tmp_path).name == "version_1"


def test_an_unwritable_folder_names_the_way_out(tmp_path: Path) -> None:
    """Below a regular file no folder can be made, not even by the superuser."""
    (tmp_path / "file").touch()
    message = (
        rf"log folder {tmp_path}/file/{LOGS} cannot be written \(Not a directory\); .*_root_dir"
    )
    with pytest.raises(OSError, match=message):
        new_run_folder(tmp_path / "file")


@pytest.mark.filterwarnings("ignore:Experiment logs directory .* is not empty")
def test_both_loggers_write_into_the_folder(tmp_path: Path) -> None:
    """Neither makes a folder of its own."""
    folder = new_run_folder(tmp_path)
    for logger in loggers_for(folder):
        assert logger.log_dir == str(folder)
        logger.log_metrics({"loss": 1.0}, 0)
        logger.save()
        logger.finalize("success")
    names = [path.name for path in folder.iterdir()]
    assert "metrics.csv" in names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert [path.name for path in (tmp_path / LOGS).iterdir()] == [folder.name]


def test_a_summary_is_readable(tmp_path: Path) -> None:
    """JSON, in UTF-8, one entry per line."""
    path = write_summary(tmp_path, {"data": "Kuzushiji → き", "test_accuracy": 0.5})
    assert path == tmp_path / "summary.json"
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == {"data": "Kuzushiji → き", "test_accuracy": 0.5}
    assert "き" in text
    assert text.count("\n") == 4
