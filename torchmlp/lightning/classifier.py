"""The multilayer perceptron as a LightningModule."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchmlp._compat.lightning import pl
from torchmlp._compat.lightning_internals import logged_result
from torchmlp.autograd.loss import mean_loss
from torchmlp.data import scale_pixels
from torchmlp.data.labels import encode_targets
from torchmlp.kernels.losses import LOSSES
from torchmlp.kernels.names import find
from torchmlp.lightning.checkpoints.run_state import RunState
from torchmlp.lightning.eligibility import reason_for_autograd
from torchmlp.lightning.engine_adapter import EngineAdapter
from torchmlp.lightning.engine_options import engine_options
from torchmlp.lightning.fast_loop import FastEpochLoop
from torchmlp.lightning.running_means import RunningMeans
from torchmlp.lightning.schedules import OneCycle, for_lightning
from torchmlp.nn.mlp import MLP
from torchmlp.nn.param_groups import scale_rates
from torchmlp.nn.state_dicts import renamed

Batch = tuple[Tensor, Tensor]


class Classifier(pl.LightningModule):
    """An MLP image classifier, with the loss and accuracy of every stage.

    Logs `train_loss`, `train_accuracy`, `val_*` and `test_*`, means over the epoch, and
    `train_loss_step`. Losses are in nats, accuracies shares of 1.

    Args:
        in_features: pixels of an image; the command line takes it from the data.
        hidden: widths of the hidden layers; a number for one layer.
        out_features: classes; the command line takes it from the data.
        activation: of the hidden layers.
        output_activation: of the last layer.
        init: initial weights; see `torchmlp.MLP`.
        bias: whether the layers have one.
        dropout: probability with which a hidden unit is dropped in training.
        input_dropout: the same for a pixel.
        loss: "cross_entropy", "mse" or "bce"; the last two against one-hot targets.
        engine: "fused" trains without autograd, by `torchmlp.Engine`, several minibatches for each
            of Lightning's; "autograd" by autograd; "auto" takes the engine where it can.
        parametrization: "standard", or "mup" for a best learning rate that stays when the hidden
            layers are widened; see `torchmlp.kernels.parametrization`.
        base_width: of the hidden layers at which "mup" is "standard".

    Attributes:
        trained_by: how the last run was trained; where "auto" took autograd, why.

    Raises:
        ValueError: as `torchmlp.MLP`, for an unknown loss or engine, and when training starts with
            engine="fused" in a run that needs autograd.

    Shape: images (batch, *image), uint8 or floating -> logits (batch, out_features).
    """

    monitor = "val_accuracy"  # what the best checkpoint is best in; more is better

    def __init__(
        self,
        in_features: int = 784,
        hidden: Sequence[int] | int = (512,),
        out_features: int = 10,
        activation: str = "relu",
        output_activation: str = "identity",
        init: str = "auto",
        bias: bool = True,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        loss: str = "cross_entropy",
        engine: Literal["auto", "autograd", "fused"] = "auto",
        parametrization: str = "standard",
        base_width: int = 64,
    ) -> None:
        super().__init__()
        find("loss", loss, LOSSES)
        find("engine", engine, dict.fromkeys(("auto", "autograd", "fused")))
        self.save_hyperparameters(ignore=["engine"])  # of a run, and not of the weights
        self.engine, self.trained_by = engine, ""
        self._means = RunningMeans()
        self.engine_adapter: EngineAdapter | None = None
        self._fast_loop: FastEpochLoop | None = None
        self.loss = loss
        self.example_input_array = torch.zeros(1, in_features)  # sizes and FLOPs of the summary
        self.mlp = MLP(
            in_features,
            hidden,
            out_features,
            activation,
            output_activation,
            init,
            bias,
            dropout,
            input_dropout,
            parametrization=parametrization,
            base_width=base_width,
        )

    def forward(self, images: Tensor) -> Tensor:
        """The logits; uint8 pixels are scaled to 0..1."""
        dtype = next(self.parameters()).dtype
        logits: Tensor = self.mlp(scale_pixels(images, dtype))
        return logits

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: no buffers, and no trainer."""
        return {**super().__getstate__(), "engine_adapter": None, "_fast_loop": None}

    def on_train_start(self) -> None:
        """Choose how to train."""
        reason = "engine=autograd"
        if self.engine != "autograd":
            reason = reason_for_autograd(self, self.trainer, Classifier)
            if reason and self.engine == "fused":
                raise ValueError(
                    f"engine=fused: {reason}; choose engine=auto, which trains this by autograd"
                )
        self.trained_by = f"autograd ({reason})" if reason else "the engine"
        if reason:
            return
        self.engine_adapter = EngineAdapter(
            self.mlp,
            self.loss,
            self.trainer.optimizers[0],
            self._means,
            **engine_options(self.trainer),
        )
        self._fast_loop = FastEpochLoop(self.trainer, self.engine_adapter.step)

    def on_train_end(self) -> None:
        """Say how it was trained, and give the buffers back."""
        if self.engine_adapter and self._fast_loop:
            slower = f"; one batch at a time, for {self._fast_loop.reason}" * bool(
                self._fast_loop.reason
            )
            self.trained_by = f"the engine: {self.engine_adapter.engine.how}{slower}"
            self._fast_loop.stop()
        self.engine_adapter = self._fast_loop = None

    def on_exception(self, exception: BaseException) -> None:
        """The same, when a run is cut."""
        del exception
        self.on_train_end()

    def training_step(self, batch: Batch) -> Tensor:
        """The mean loss of the batch."""
        if self.engine_adapter:
            loss = self.engine_adapter.step(batch)
        else:
            loss, right = self._measure(batch)
            self._means.add(loss.detach(), right, len(batch[1]))
        self.log("train_loss_step", loss, on_step=True, on_epoch=False)
        total, right = self._means.sums(loss.device)
        self._log_running("train_loss", total, prog_bar=True)
        self._log_running("train_accuracy", right)
        return loss

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's means; an epoch that is resumed in its middle goes on with its own."""
        self._means.clear()

    def process_state(self) -> dict[str, Any]:
        """What a checkpoint keeps of this process beside weights: the means of the epoch so far."""
        return self._means.state_dict()

    def load_process_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._means.load_state_dict(state)

    def validation_step(self, batch: Batch) -> None:
        """Loss and accuracy of the batch, logged."""
        self._log_evaluation("val", batch)

    def test_step(self, batch: Batch) -> None:
        """Loss and accuracy of the batch, logged."""
        self._log_evaluation("test", batch)

    def predict_step(self, batch: Batch) -> Tensor:
        """The probability of each class, (batch, out_features)."""
        logits: Tensor = self(batch[0])
        return logits.float().softmax(-1)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Nothing where the engine trains: its step is all of it."""
        if not self.engine_adapter:
            super().backward(loss, *args, **kwargs)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Where the engine trains, only the closure with `training_step`, which takes the step."""
        if self.engine_adapter:
            optimizer_closure()
        else:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def configure_callbacks(self) -> list[pl.Callback]:
        """What makes a resumed run the uninterrupted one."""
        return [RunState()]

    def configure_optimizers(self) -> Any:
        """SGD with momentum over one cycle; the command line puts its own in place of it."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, nesterov=True)
        scale_rates(optimizer, self)
        return for_lightning(self, optimizer, OneCycle(optimizer))

    def parts(self) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor], None]:
        """The network, its loss and no optimizer of its own, as a diagnosis takes them apart."""

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            target = encode_targets(labels, self.loss, logits.shape[-1], logits.dtype)
            return mean_loss(logits, target, self.loss)

        return self, loss, None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Compare the shapes of a checkpoint's weights with the model's before any is copied.

        Weights alone of another program's perceptron may have other names.

        Raises:
            ValueError: they differ; the first difference is named.
        """
        mine = self.state_dict()
        found = checkpoint["state_dict"] = renamed(checkpoint["state_dict"], mine)
        for name in [*mine, *(name for name in found if name not in mine)]:
            shapes = [tuple(side[name].shape) if name in side else "none" for side in (found, mine)]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"checkpoint of another shape: {name} is {shapes[0]} in the checkpoint and "
                    f"{shapes[1]} in the model; give the model the checkpoint's settings (--hidden)"
                )

    def _measure(self, batch: Batch) -> tuple[Tensor, Tensor]:
        images, labels = batch
        logits = self(images)
        right = (logits.detach().argmax(-1) == labels).sum()
        target = encode_targets(labels, self.loss, logits.shape[-1], logits.dtype)
        return mean_loss(logits, target, self.loss), right

    def _log_running(self, name: str, total: Tensor, *, prog_bar: bool = False) -> None:
        """Log the mean of an epoch that is under way, from its sum so far."""
        count = self._means.count
        self.log(
            name, total / count, on_step=False, on_epoch=True, prog_bar=prog_bar,
            batch_size=count, sync_dist=True,
        )  # fmt: skip
        # Lightning would add up means of as many batches as the clock has put into each group, all
        # of them rounded.
        if logged := logged_result(self, f"training_step.{name}"):
            logged.value, logged.cumulated_batch_size = total, torch.tensor(count).to(total.device)

    def _log_evaluation(self, stage: str, batch: Batch) -> None:
        loss, right = self._measure(batch)
        self.log_dict(
            {f"{stage}_loss": loss, f"{stage}_accuracy": right / len(batch[1])},
            prog_bar=stage == "val",
            batch_size=len(batch[1]),
            sync_dist=True,
        )
