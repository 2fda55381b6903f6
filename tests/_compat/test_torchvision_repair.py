import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest

from tests import ROOT
from torchmlp._compat import torchvision_repair

WORKS = """
first = import_torchvision()
assert import_torchvision() is first
from torchvision import datasets, transforms, utils
import pytorch_lightning
assert pytorch_lightning.Trainer
"""

ALONE = """
import sys
from torchmlp.data import import_torchvision
assert not {"torchvision", "pytorch_lightning"} & set(sys.modules), "importing is slow"
"""

AFTER_FAILED_IMPORTS = """
import sys
try:
    import torchvision
    works = True
except RuntimeError as error:
    assert "operator torchvision::" in str(error)
    works = False
if not works:
    try:
        import pytorch_lightning
    except RuntimeError:
        pass
from torchmlp._compat.torchvision_repair import _declared, import_torchvision
assert import_torchvision() is sys.modules["torchvision"]
assert bool(_declared) is not works, "a matching install is left untouched"
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", [ALONE, AFTER_FAILED_IMPORTS], ids=["alone", "after-failures"])
def test_torchvision_and_lightning_import(before: str) -> None:
    """After the repair both import, whatever is installed, also where an import failed before."""
    repository = str(ROOT)
    result = subprocess.run(
        [sys.executable, "-c", before + WORKS],
        env={**os.environ, "PYTHONPATH": repository},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


class FakeImport:
    """An import of torchvision that fails with these messages one after the other, then works."""

    def __init__(self, *messages: str) -> None:
        self.messages = list(messages)
        self.modules = {
            "torchvision.half": ModuleType("torchvision.half"),
            "other": ModuleType("o"),
        }

    def import_module(self, name: str) -> ModuleType:
        if name not in self.modules:
            assert "torchvision.half" not in self.modules
            self.modules["torchvision.half"] = ModuleType("torchvision.half")
            if self.messages:
                raise RuntimeError(self.messages.pop(0))
            self.modules[name] = ModuleType(name)
        return self.modules[name]


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The schemas that are declared, with a library that declares nothing."""
    schemas: list[str] = []
    library = SimpleNamespace(define=schemas.append)
    fake_torch = SimpleNamespace(library=SimpleNamespace(Library=lambda *_: library))
    monkeypatch.setattr(torchvision_repair, "torch", fake_torch)
    monkeypatch.setattr(torchvision_repair, "_declared", [])
    yield schemas
    assert len(torchvision_repair._declared) == len(schemas), "libraries must be kept alive"


def use(monkeypatch: pytest.MonkeyPatch, fake: FakeImport) -> None:
    monkeypatch.setattr(torchvision_repair, "importlib", fake)
    monkeypatch.setattr(torchvision_repair, "sys", fake)


def test_declares_what_is_missing(monkeypatch: pytest.MonkeyPatch, declared: list[str]) -> None:
    """Each missing operator is declared once, whatever its name, and half-imported parts go."""
    missing = [f"operator torchvision::{name} does not exist" for name in ("nms", "later_one")]
    fake = FakeImport(*missing)
    use(monkeypatch, fake)
    assert torchvision_repair.import_torchvision() is fake.modules["torchvision"]
    assert declared == ["nms() -> ()", "later_one() -> ()"]
    assert "other" in fake.modules


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(["no CUDA"], id="other"),
        pytest.param(["operator torchvision::nms does not exist"] * 2, id="not-helped"),
    ],
)
def test_other_errors_are_raised(
    monkeypatch: pytest.MonkeyPatch, declared: list[str], messages: list[str]
) -> None:
    """What declaring cannot mend is raised as it is, and does not loop for ever."""
    use(monkeypatch, FakeImport(*messages))
    with pytest.raises(RuntimeError, match=messages[-1]):
        torchvision_repair.import_torchvision()
    assert len(declared) == len(messages) - 1


def test_a_working_import_is_left_untouched(
    monkeypatch: pytest.MonkeyPatch, declared: list[str]
) -> None:
    """Nothing is declared where nothing is missing."""
    use(monkeypatch, FakeImport())
    torchvision_repair.import_torchvision()
    assert declared == []
