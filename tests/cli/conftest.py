import shutil
from pathlib import Path

import pytest

from tests.cli.command_line import SMALL, newest_run, run


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one small run has been trained: lightning_logs/version_0. Do not write
    into it."""
    folder = tmp_path_factory.mktemp("digits_run")
    result = run(folder, *SMALL, "--max_epochs", 2, "--activation", "tanh", "--lr", 0.3)
    assert result.code == 0, result.err
    (folder / "fit.txt").write_text(result.out, encoding="utf-8")
    assert newest_run(folder).name == "version_0"
    return folder


@pytest.fixture
def own_run(digits_run: Path, tmp_path: Path) -> Path:
    """A copy of `digits_run` to write into."""
    shutil.copytree(digits_run, tmp_path, dirs_exist_ok=True)
    return tmp_path
