from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.lightning.lightning_runs import Given, ignore_lightnings_own, quiet_trainer
from torchmlp._compat.lightning import pl
from torchmlp.lightning.callbacks.terminate_on_nonfinite import (
    NonFiniteLossError,
    TerminateOnNonFinite,
)

pytestmark = ignore_lightnings_own


class ScriptedLoss(pl.LightningModule):
    """Its training losses are the batches' targets."""

    def __init__(self, *, as_dict: bool = False, rate: float = 0.25) -> None:
        super().__init__()
        self.weight, self.as_dict, self.rate = torch.nn.Parameter(torch.ones(())), as_dict, rate

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Any:
        loss = self.weight * 0 + batch[1]
        return {"loss": loss} if self.as_dict else loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.rate)


class Silent(pl.LightningModule):
    """Steps by itself and returns no loss."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any) -> None:
        del batch

    def configure_optimizers(self) -> None:
        pass


def run(
    folder: Path, module: pl.LightningModule, losses: list[float], x: Tensor | None = None
) -> int:
    """Trains on these losses; the number of batches that were taken."""
    inputs = torch.zeros(3) if x is None else x
    batches = [(inputs, torch.tensor(loss)) for loss in losses]
    trainer = quiet_trainer(folder, max_epochs=2, callbacks=[TerminateOnNonFinite()])
    trainer.fit(module, Given(batches))
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.completed)


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("loss", ["nan", "inf", "-inf"])
def test_a_sick_loss_ends_the_run(tmp_path: Path, loss: str, as_dict: bool) -> None:
    """The step, the epoch, the loss and the learning rate are named, with what may help."""
    message = rf"the loss is {loss} at step 3 \(epoch 0\): learning rate 0\.25; a smaller one"
    with pytest.raises(NonFiniteLossError, match=message):
        run(tmp_path, ScriptedLoss(as_dict=as_dict), [1.0, 2.0, float(loss), 1.0])


def test_finite_losses_are_left_alone(tmp_path: Path) -> None:
    """Large, negative and zero losses are no sickness."""
    assert run(tmp_path, ScriptedLoss(), [1e30, -5.0, 0.0]) == 6


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_sick_input_is_told_from_a_sick_rate(tmp_path: Path, value: str) -> None:
    """Where the batch itself holds nan or infinity, that is what the message says."""
    x = torch.tensor([0.0, float(value), 1.0])
    with pytest.raises(NonFiniteLossError, match="the batch holds values that are not finite") as e:
        run(tmp_path, ScriptedLoss(), [float("nan")], x)
    assert "learning rate" not in str(e.value)


def test_uint8_images_are_never_the_cause(tmp_path: Path) -> None:
    """Pixels cannot be nan: then the rate is named."""
    with pytest.raises(NonFiniteLossError, match="learning rate"):
        run(tmp_path, ScriptedLoss(), [float("nan")], torch.zeros(3, dtype=torch.uint8))


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_a_module_without_a_loss_is_left_alone(tmp_path: Path) -> None:
    """Manual optimization may return nothing; there is nothing to look at."""
    assert run(tmp_path, Silent(), [1.0, float("nan")]) == 4
