"""Train a `Classifier` with the engine: what becomes of one of Lightning's batches."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmlp.data import scale_pixels
from torchmlp.data.labels import encode_targets
from torchmlp.engine import Engine
from torchmlp.lightning.running_means import RunningMeans
from torchmlp.nn.mlp import MLP

if TYPE_CHECKING:
    from collections.abc import Callable


class EngineAdapter:
    """The training of an MLP with a loss by name, by the engine.

    Args:
        mlp: the network, on its device.
        loss: "cross_entropy", "mse" or "bce"; the last two against one-hot targets.
        optimizer: over its parameters.
        means: adds up each batch; None makes new ones.
        updates: whether the optimizer takes its step after the batch under way; None: always.
        options: of the engine.

    Attributes:
        last: the last batch, and the state of torch's generator before its step, or None where
            nothing is drawn.
        watcher: called after each step with the engine and the step's loss; None for none.
    """

    def __init__(
        self,
        mlp: MLP,
        loss: str,
        optimizer: torch.optim.Optimizer,
        means: RunningMeans | None = None,
        updates: "Callable[[], bool] | None" = None,
        **options: Any,
    ) -> None:
        self.engine = Engine(mlp, loss, optimizer, only_finite=True, **options)
        self.updates = updates
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
        target = encode_targets(labels, self.loss, mlp.out_features, dtype)
        # Pixels are scaled in the step.
        x = images if images.dtype == torch.uint8 else scale_pixels(images, dtype)
        updates = None if self.updates is None else self.updates()
        loss = self.engine.step(x, target, updates=updates)
        self.means.add(loss, self.engine.right(labels), len(labels))
        if self.watcher is not None:
            self.watcher(self.engine, loss)
        return loss
