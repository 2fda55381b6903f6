"""A cache of compiled steps that is empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from torchmlp.engine.steps import build as library


@pytest.fixture
def unbuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for the compiled step in which there is none, as on a machine that is new to it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library._load.cache_clear()
    yield tmp_path
    library._load.cache_clear()
