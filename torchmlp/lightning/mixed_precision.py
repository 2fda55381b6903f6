"""Lightning's mixed precision as the engine takes it: the products' dtype, and the loss's scaler.

The scaler is the trainer's own: its plugin keeps the state in checkpoints.
"""

from typing import Any

import torch
from torch.amp import GradScaler

from torchmlp._compat.lightning import pl
from torchmlp.engine.steps.mixed_step import unsupported_precision
from torchmlp.nn.mlp import MLP

_PRODUCTS = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def is_mixed(trainer: Any) -> bool:
    """Whether Lightning's own mixed precision is on, and not somebody's subclass of it."""
    plugin = trainer.precision_plugin
    return type(plugin) is pl.plugins.MixedPrecision and plugin.precision in _PRODUCTS


def mixed(trainer: Any) -> tuple[torch.dtype | None, GradScaler | None]:
    """What `Engine` takes for `precision` and `scaler`."""
    if not is_mixed(trainer):
        return None, None
    plugin = trainer.precision_plugin
    return _PRODUCTS[plugin.precision], plugin.scaler


def unsupported_mixed(mlp: MLP, trainer: Any) -> str:
    """What keeps the network from being trained so; "" where nothing does."""
    reason = unsupported_precision(mlp, *mixed(trainer))
    return f"precision {trainer.precision}: {reason}" * bool(reason)
