"""`validate`, `test` and `predict`: what a checkpoint is worth."""

import math
from typing import Any

import torch

from torchmlp.cli.actions.output import measured_on, print_metrics, short_path, write_predictions
from torchmlp.cli.terminal.errors import UsageError
from torchmlp.cli.terminal.exit_codes import DONE
from torchmlp.lightning.callbacks.terminate_on_nonfinite import NonFiniteLossError
from torchmlp.lightning.datamodule import ImageDataModule

from pytorch_lightning.utilities.model_helpers import is_overridden  # isort: skip  after pl


def validate(cli: Any, arguments: dict[str, Any]) -> int:
    """Measure a checkpoint on the validation images."""
    measured = cli.trainer.validate(**{**arguments, "verbose": False})
    if not measured:
        raise UsageError("validate: no images are held out; expected --data.val_size above 0")
    _print(cli, measured[0], "validate")
    return DONE


def test(cli: Any, arguments: dict[str, Any]) -> int:
    """Measure a checkpoint on the test images."""
    if not measure_on_test(cli, arguments["ckpt_path"]):
        raise UsageError("test: nothing was measured; expected a test_step and test images")
    return DONE


def predict(cli: Any, arguments: dict[str, Any]) -> int:
    """Write the probabilities of the test images' classes to predictions.csv."""
    if cli.trainer.world_size > 1:
        raise UsageError("predict: expected one device, for the rows are written in order")
    batches: Any = cli.trainer.predict(**{**arguments, "return_predictions": True})
    if not cli.folder or not batches or not isinstance(batches[0], torch.Tensor):
        return DONE
    path = cli.folder / "predictions.csv"
    probabilities = torch.cat(batches)
    sick = int((~probabilities.isfinite()).any(-1).sum())
    if sick:
        raise NonFiniteLossError(
            f"{sick} of {len(probabilities)} predictions are nan or infinite: the weights are "
            f"sick; nothing was written"
        )
    names = tuple(str(k) for k in range(probabilities.shape[-1]))
    if isinstance(cli.datamodule, ImageDataModule):
        names = cli.datamodule.classes
    write_predictions(path, probabilities, names)
    data = measured_on(cli.datamodule, "predict")
    cli.say(f"predictions {short_path(path)} ({data})")
    return DONE


def measure_on_test(cli: Any, checkpoint: str | None) -> dict[str, float]:
    """Measure a checkpoint, or the weights as they are, and print it; {} where nothing can be."""
    if not is_overridden("test_step", cli.model):
        return {}
    data = cli.datamodule
    measured = cli.trainer.test(cli.model, data, ckpt_path=checkpoint, verbose=False)
    if not measured:
        return {}  # no batch of the test images is wanted
    _print(cli, measured[0], "test")
    return dict(measured[0])


def _print(cli: Any, metrics: Any, stage: str) -> None:
    for name, value in metrics.items():
        if name.endswith("loss") and not math.isfinite(value):
            raise NonFiniteLossError(f"{name.replace('_', ' ')} is {value}: the weights are sick")
    if cli.trainer.is_global_zero and metrics:
        print_metrics(metrics, measured_on(cli.datamodule, stage))
