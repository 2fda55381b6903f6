from pathlib import Path

import pytest

from tests.lightning.lightning_runs import Scripted, ignore_lightnings_own, one_batch, quiet_trainer
from torchmlp._compat.lightning import pl
from torchmlp.lightning.callbacks.progress import EpochLines, progress

pytestmark = ignore_lightnings_own


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines() -> None:
    """A bar redraws itself, which makes a file unreadable."""
    assert isinstance(progress(in_terminal=True), pl.callbacks.RichProgressBar)
    assert isinstance(progress(in_terminal=False), EpochLines)


def test_every_epoch_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Number, the metrics that there are, seconds."""
    metrics = {"train_loss": [2.5, 1.25], "val_accuracy": [0.5, 0.75], "other": [1.0, 1.0]}
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[EpochLines()])
    trainer.fit(Scripted(metrics), one_batch(), one_batch())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line.rsplit("  ", 1)[0] for line in lines] == [
        "epoch 0  train_loss 2.5000  val_accuracy 0.5000",
        "epoch 1  train_loss 1.2500  val_accuracy 0.7500",
    ]
    assert all(line.endswith(" s") for line in lines)
