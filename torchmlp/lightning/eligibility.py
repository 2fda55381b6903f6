"""Whether the engine can train a run of Lightning's, and if not, why, in a sentence."""

from collections.abc import Iterable, Iterator
from typing import Any

from torchmlp._compat.lightning import pl
from torchmlp._compat.lightning_internals import detects_anomalies
from torchmlp._compat.torch_internals import module_hooks
from torchmlp.engine import unsupported_reason
from torchmlp.lightning.fast_loop import overrides
from torchmlp.lightning.mixed_precision import is_mixed, unsupported_mixed

# Hooks that are shown gradients, or a step that is not taken; the engine has neither.
SHOWN_GRADIENTS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")
OWN_TRAINING = (
    *("forward", "training_step", "backward", "optimizer_step"),
    *("configure_gradient_clipping", "optimizer_zero_grad", "on_before_zero_grad"),
)
PRECISIONS = ("32-true", "64-true", "16-true", "bf16-true")


def reason_for_autograd(module: Any, trainer: pl.Trainer, own: type[pl.LightningModule]) -> str:
    """What in a run keeps the engine from training the `mlp` of `module`; "" where nothing does.

    Args:
        module: has `mlp` and `loss`.
        trainer: about to train, optimizers made.
        own: the class whose `forward` and `training_step` the engine stands for.
    """
    return next(_reasons(module, trainer, own), "") or unsupported_reason(
        module.mlp, module.loss, trainer.optimizers[0]
    )


def _reasons(module: Any, trainer: Any, own: type[pl.LightningModule]) -> Iterator[str]:
    yield from _reasons_of_trainer(trainer)
    if reason := unsupported_mixed(module.mlp, trainer):
        yield reason
    if len(list(module.parameters())) != len(list(module.mlp.parameters())):
        yield "the module has parameters beside its network's"
    if any(module_hooks(module)[:2]):
        yield "the module has hooks, which only its own forward calls"
    yield from _overridden(module, own, (*SHOWN_GRADIENTS, *OWN_TRAINING))
    for callback in trainer.callbacks:
        if isinstance(callback, pl.callbacks.GradientAccumulationScheduler):
            yield f"{type(callback).__name__} changes how many gradients are added up"
        yield from _overridden(callback, pl.Callback, SHOWN_GRADIENTS)


def _reasons_of_trainer(trainer: Any) -> Iterator[str]:
    if trainer.world_size > 1:
        yield f"{trainer.world_size} processes average their gradients"
    if not isinstance(trainer.strategy, pl.strategies.SingleDeviceStrategy):
        yield f"{type(trainer.strategy).__name__} shares the model out"
    if trainer.precision not in PRECISIONS and not is_mixed(trainer):
        yield f"precision {trainer.precision} casts between layers"
    if detects_anomalies(trainer):
        yield "detect_anomaly looks at autograd"
    if len(trainer.optimizers) != 1:
        yield f"{len(trainer.optimizers)} optimizers"


def _overridden(watcher: Any, base: type, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if overrides(watcher, base, name):
            yield f"{type(watcher).__name__}.{name} is its own, and the engine does not call it"
