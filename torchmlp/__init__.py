"""A multilayer perceptron for PyTorch whose every gradient is written by hand and checked."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torchmlp.autograd import DenseFunction, dense, mean_loss, network_loss
from torchmlp.nn import MLP, Dense
from torchmlp.training.streams import (
    TrainingState,
    close_enough,
    long_enough,
    no_improvement,
    reported,
    training_states,
    until,
)

if TYPE_CHECKING:
    from torchmlp.training.classifier import Classifier
    from torchmlp.training.datamodule import ImageDataModule

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "Classifier",
    "Dense",
    "DenseFunction",
    "ImageDataModule",
    "TrainingState",
    "close_enough",
    "dense",
    "long_enough",
    "mean_loss",
    "network_loss",
    "no_improvement",
    "reported",
    "training_states",
    "until",
]

# Lightning takes seconds to import; these wait until they are asked for.
_LAZY = {
    "Classifier": "torchmlp.training.classifier",
    "ImageDataModule": "torchmlp.training.datamodule",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
