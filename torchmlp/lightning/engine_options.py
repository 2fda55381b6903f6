"""What a Lightning trainer asks for, as an `Engine` takes it: clipping, accumulation, precision."""

from typing import Any

from torchmlp._compat.lightning_internals import is_accumulating
from torchmlp.lightning.mixed_precision import mixed


def engine_options(trainer: Any) -> dict[str, Any]:
    """The engine's options, and whether the optimizer takes its step after the batch under way.

    Args:
        trainer: about to train.
    """
    precision, scaler = mixed(trainer)
    options: dict[str, Any] = {"precision": precision, "scaler": scaler}
    if limit := trainer.gradient_clip_val:
        by_value = str(trainer.gradient_clip_algorithm or "").lower().endswith("value")
        options["clip_value" if by_value else "clip_norm"] = limit
    if trainer.accumulate_grad_batches > 1:
        options["accumulate"] = trainer.accumulate_grad_batches
        loop = trainer.fit_loop.epoch_loop
        options["updates"] = lambda: not is_accumulating(loop)
    return options
