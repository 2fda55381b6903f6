"""A multilayer perceptron for PyTorch whose every gradient is written by hand and checked."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torchmlp._runtime.version import __version__ as __version__

if TYPE_CHECKING:
    from torchmlp.autograd import DenseFunction, dense, mean_loss, network_loss
    from torchmlp.diagnosis import Finding, Report, diagnose
    from torchmlp.diagnosis.monitor import HealthMonitor
    from torchmlp.engine import Engine
    from torchmlp.engine.population import Population
    from torchmlp.engine.streams import (
        TrainingState,
        close_enough,
        long_enough,
        no_improvement,
        reported,
        training_states,
        until,
    )
    from torchmlp.gradcheck import (
        GradientReport,
        Mistake,
        VerifyReport,
        check_gradients,
        explain_gradients,
        verify,
    )
    from torchmlp.lightning.classifier import Classifier
    from torchmlp.lightning.datamodule import ImageDataModule
    from torchmlp.lightning.schedules import OneCycle
    from torchmlp.nn import MLP, Dense
    from torchmlp.nn.param_groups import scale_rates
    from torchmlp.stability.coordinate_check import coordinate_check
    from torchmlp.stability.lr_finder.finder import find_learning_rate
    from torchmlp.watching import WatchReport, watch

__all__ = [
    "MLP",
    "Classifier",
    "Dense",
    "DenseFunction",
    "Engine",
    "Finding",
    "GradientReport",
    "HealthMonitor",
    "ImageDataModule",
    "Mistake",
    "OneCycle",
    "Population",
    "Report",
    "TrainingState",
    "VerifyReport",
    "WatchReport",
    "check_gradients",
    "close_enough",
    "coordinate_check",
    "dense",
    "diagnose",
    "explain_gradients",
    "find_learning_rate",
    "long_enough",
    "mean_loss",
    "network_loss",
    "no_improvement",
    "reported",
    "scale_rates",
    "training_states",
    "until",
    "verify",
    "watch",
]

# Torch takes a second to import and Lightning several: each name waits until it is asked for, so
# that a mistyped command line is answered at once.
_HOME = {
    "autograd": ["DenseFunction", "dense", "mean_loss", "network_loss"],
    "diagnosis": ["Finding", "Report", "diagnose"],
    "diagnosis.monitor": ["HealthMonitor"],
    "nn": ["MLP", "Dense"],
    "watching": ["WatchReport", "watch"],
    "stability.coordinate_check": ["coordinate_check"],
    "stability.lr_finder.finder": ["find_learning_rate"],
    "lightning.classifier": ["Classifier"],
    "lightning.datamodule": ["ImageDataModule"],
    "lightning.schedules": ["OneCycle"],
    "engine": ["Engine"],
    "nn.param_groups": ["scale_rates"],
    "engine.population": ["Population"],
    "engine.streams": [
        "TrainingState",
        "close_enough",
        "long_enough",
        "no_improvement",
        "reported",
        "training_states",
        "until",
    ],
    "gradcheck": [
        "GradientReport",
        "Mistake",
        "VerifyReport",
        "check_gradients",
        "explain_gradients",
        "verify",
    ],
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"torchmlp.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext torchmlp` calls: it makes `%%watch` known to a notebook."""
    from torchmlp.watching.magic import load  # noqa: PLC0415  imports torch

    load(shell)
