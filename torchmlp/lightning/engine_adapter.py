"""Which training steps of a `Classifier` under Lightning need autograd, and those that do not."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from torchmlp._compat.lightning import pl
from torchmlp.data import scale_pixels
from torchmlp.data.targets import target_of
from torchmlp.engine import Engine, why_not
from torchmlp.lightning.fast_loop import overrides
from torchmlp.lightning.running_means import RunningMeans
from torchmlp.nn.mlp import MLP

# Hooks that are shown gradients, or a step that is not taken; the engine has neither.
SHOWN_GRADIENTS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")
OWN_TRAINING = (
    *("forward", "training_step", "backward", "optimizer_step"),
    *("configure_gradient_clipping", "optimizer_zero_grad", "on_before_zero_grad"),
)
PRECISIONS = ("32-true", "64-true", "16-true", "bf16-true")


class FusedTraining:
    """The training of an MLP with a loss by name, by the engine.

    Args:
        mlp: the network, on its device.
        loss: "cross_entropy", "mse" or "bce"; the last two against one-hot targets.
        optimizer: over its parameters.
        means: is told of each batch; None is nobody.

    Attributes:
        last: the last batch, and the state of torch's generator before its step, or None where
            nothing is drawn.
        watcher: called after each step with the engine and the step's loss; None is nobody.
    """

    def __init__(
        self,
        mlp: MLP,
        loss: str,
        optimizer: torch.optim.Optimizer,
        means: RunningMeans | None = None,
    ) -> None:
        self.engine = Engine(mlp, loss, optimizer, only_finite=True)
        self.loss = loss
        self.last: tuple[tuple[Tensor, Tensor], Tensor | None] | None = None
        self.draws = bool(mlp.dropout or mlp.input_dropout)
        self.watcher: Callable[[Engine, Tensor], None] | None = None
        self.means = means or RunningMeans()

    def step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Train on a batch of images and labels; the mean loss before the step."""
        images, labels = batch
        # Dropout's masks are drawn from it: who looks into a step has to draw the same.
        self.last = batch, torch.get_rng_state() if self.draws else None
        mlp, dtype = self.engine.model, self.engine.model.weights[0].dtype
        target = target_of(labels, self.loss, mlp.out_features, dtype)
        # Pixels are scaled in the step.
        x = images if images.dtype == torch.uint8 else scale_pixels(images, dtype)
        loss = self.engine.step(x, target)
        self.means.add(loss, self.engine.right(labels), len(labels))
        if self.watcher is not None:
            self.watcher(self.engine, loss)
        return loss


def why_autograd(module: Any, trainer: pl.Trainer, own: type[pl.LightningModule]) -> str:
    """What in a run keeps the engine from training the `mlp` of `module`; "" where nothing does.

    Args:
        module: has `mlp` and `loss`.
        trainer: about to train, optimizers made.
        own: the class whose `forward` and `training_step` the engine stands for.
    """
    return next(_reasons(module, trainer, own), "") or why_not(
        module.mlp, module.loss, trainer.optimizers[0]
    )


def _reasons(module: Any, trainer: Any, own: type[pl.LightningModule]) -> Iterator[str]:
    yield from _reasons_of_trainer(trainer)
    if len(list(module.parameters())) != len(list(module.mlp.parameters())):
        yield "the module has parameters beside its network's"
    if module._forward_hooks or module._forward_pre_hooks:
        yield "the module has hooks, which only its own forward calls"
    yield from _overridden(module, own, (*SHOWN_GRADIENTS, *OWN_TRAINING))
    for callback in trainer.callbacks:
        if isinstance(callback, pl.callbacks.GradientAccumulationScheduler):
            yield f"{type(callback).__name__} adds gradients up"
        yield from _overridden(callback, pl.Callback, SHOWN_GRADIENTS)


def _reasons_of_trainer(trainer: Any) -> Iterator[str]:
    if trainer.world_size > 1:
        yield f"{trainer.world_size} processes average their gradients"
    if not isinstance(trainer.strategy, pl.strategies.SingleDeviceStrategy):
        yield f"{type(trainer.strategy).__name__} shares the model out"
    if trainer.precision not in PRECISIONS:
        yield f"precision {trainer.precision} casts between layers"
    if trainer.accumulate_grad_batches != 1:
        yield f"accumulate_grad_batches={trainer.accumulate_grad_batches} adds gradients up"
    if trainer.gradient_clip_val:
        yield f"gradient_clip_val={trainer.gradient_clip_val} reads the gradients"
    if trainer._detect_anomaly:
        yield "detect_anomaly looks at autograd"
    if len(trainer.optimizers) != 1:
        yield f"{len(trainer.optimizers)} optimizers"


def _overridden(watcher: Any, base: type, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if overrides(watcher, base, name):
            yield f"{type(watcher).__name__}.{name} is its own, and the engine does not call it"
