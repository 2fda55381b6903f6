"""What earlier releases saved is read."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml

from tests import ROOT
from tests.cli.command_line import NO_SUMMARY, run
from torchmlp.cli.parsing.renamed_classes import RENAMED, renamed

OLD = """
model:
  class_path: torchmlp.Classifier
  init_args: {hidden: [8]}
data:
  class_path: torchmlp.ImageDataModule
  init_args: {source: embedded, batch_size: 500}
lr_scheduler:
  class_path: torchmlp.training.schedules.OneCycle
trainer:
  max_epochs: 1
  callbacks:
  - class_path: torchmlp.training.finite.StopWhenNotFinite
  - class_path: torchmlp.health.monitor.HealthMonitor
"""


@pytest.mark.parametrize("path", RENAMED.values())
def test_every_new_name_is_there(path: str) -> None:
    """A module, or a class in one."""
    try:
        import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        assert hasattr(import_module(module), name)


def test_only_whole_names_are_changed() -> None:
    """Wherever they stand in a configuration; what only begins like one is left alone."""
    old = {"a": ["torchmlp.training.schedules.OneCycle", 3], "torchmlp.training.schedules": None}
    new = "torchmlp.lightning.schedules.OneCycle"
    assert renamed(old) == {"a": [new, 3], "torchmlp.training.schedules": None}
    for word in ("torchmlp.training.schedulesX.Y", "my.torchmlp.training.schedules", "torchmlp"):
        assert renamed(word) == word


def test_an_old_configuration_trains_and_is_saved_under_the_new_names(tmp_path: Path) -> None:
    """From a file, and from flags."""
    (tmp_path / "old.yaml").write_text(OLD)
    flag = ("--lr_scheduler", "torchmlp.training.schedules.OneCycle")
    for words in (("--config", "old.yaml"), ("--config", "old.yaml", *flag)):
        code, out, err = run(tmp_path, "fit", *words, *NO_SUMMARY)
        assert (code, err) == (0, "")
        assert "test accuracy" in out
    for config in tmp_path.glob("lightning_logs/*/config.yaml"):
        text = config.read_text(encoding="utf-8")
        assert "torchmlp.training" not in text
        assert "torchmlp.health" not in text
        assert "torchmlp.diagnosis.monitor.HealthMonitor" in text


def test_the_reference_run_of_an_earlier_release_can_be_repeated(tmp_path: Path) -> None:
    """Its configuration, as it was saved, is understood setting for setting."""
    path = ROOT / "lightning_logs" / "reference" / "config.yaml"
    code, out, err = run(tmp_path, "fit", "--config", path, "--print_config")
    assert (code, err) == (0, "")
    saved, found = (yaml.safe_load(text) for text in (path.read_text(encoding="utf-8"), out))
    assert saved["lr_scheduler"]["class_path"] == "torchmlp.training.schedules.OneCycle"
    assert found["lr_scheduler"]["class_path"] == "torchmlp.lightning.schedules.OneCycle"
    for section in ("model", "data", "optimizer"):
        assert found[section]["class_path"] == saved[section]["class_path"]
        # A setting that came later has its default.
        assert saved[section]["init_args"].items() <= found[section]["init_args"].items()
    assert found["stop"] == saved["stop"]
