"""The network this package began with, faults and all: 784-1000-10, logistic, on MNIST.

Its owner saw nan for some layer sizes, batches and learning rates, and otherwise a loss that never
moved. What is wrong with it, each thing marked where it stands below:

1. Weights and biases are drawn from U(0, 1): all positive and not scaled by fan-in. Nearly every
   hidden unit sits at z ≈ 50, is 1.0 to the last bit and passes no gradient.
2. The softmax takes exp of the logits as they come: nan once one passes 709.78 (float64).
3. The loss shown is the squared error, the loss descended is the cross-entropy.
4. Every minibatch is stepped on a hundred times before the next one is looked at.

With every hidden unit at 1, one step moves a logit by η (N + 1) mean(p − t), N being the width:
hence nan for certain widths, batches and rates. Rate 1: nan after two steps. Rate 0.2:
probabilities of 1e-100 and less, no nan, an accuracy of 0.10 for ever.

Do not copy from here. The gradients, taken from the package, are right: right gradients do not save
a run from any of this.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim import Optimizer

from torchmlp._compat.lightning import pl
from torchmlp.data import scale_pixels
from torchmlp.kernels.network import Layer, average_gradients, descend, run, scan_deltas
from torchmlp.lightning.callbacks.terminate_on_nonfinite import NonFiniteLossError

EXP_LIMIT = 709.78  # above it exp overflows float64


class Origin(pl.LightningModule):
    """The network of this module's text. Give the trainer precision 64-true.

    Args:
        hidden: width N of the hidden layer.
        rate: learning rate η.
        steps_per_minibatch: descent steps before the next minibatch.
    """

    def __init__(
        self, hidden: int = 1000, rate: float = 1.0, steps_per_minibatch: int = 100
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.rate, self.steps_per_minibatch, self.steps = rate, steps_per_minibatch, 0
        shapes = [(hidden, 784), (hidden,), (10, hidden), (10,)]
        self.weights_and_biases = nn.ParameterList(torch.rand(shape) for shape in shapes)  # 1

    def forward(self, images: Tensor) -> Tensor:
        """The class probabilities, by a softmax that overflows."""
        return naive_softmax(run(self._pixels(images), self._layers()).a[-1])

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Many steps of descent on one minibatch; the loss that is shown."""
        x, target = self._pixels(batch[0]), self._one_hot(batch[1])
        for _ in range(self.steps_per_minibatch):  # 4
            p, shown = self._step(x, target)
        self.log_dict({"train_loss": shown, "smallest_p": p.min()}, prog_bar=True)
        return shown

    @torch.no_grad()
    def _step(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        layers = self._layers()
        passed = run(x, layers)
        p = naive_softmax(passed.a[-1])
        shown = (p - target).square().mean()  # 3: this is not what the next line descends
        deltas = scan_deltas(p - target, passed, layers)
        self._check(shown, passed.a[-1])
        self.steps += 1
        self._set(descend(layers, average_gradients(deltas, passed, layers), self.rate))
        return p, shown

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Accuracy and the loss that is shown."""
        self._log_evaluation("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Accuracy and the loss that is shown."""
        self._log_evaluation("test", batch)

    def parts(self) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor], Optimizer]:
        """The network up to its logits, the loss shown with the gradient descended, and descent."""

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            shown: Tensor = _ShownLoss.apply(logits, self._one_hot(labels))  # type: ignore[no-untyped-call]
            return shown

        return _Logits(self), loss, torch.optim.SGD(self.parameters(), lr=self.rate)

    def configure_optimizers(self) -> list[Optimizer]:
        """None: the descent is in `training_step`."""
        return []

    def _log_evaluation(self, stage: str, batch: tuple[Tensor, Tensor]) -> None:
        p, target = self(batch[0]), self._one_hot(batch[1])
        accuracy = (p.argmax(-1) == batch[1]).double().mean()
        shown = (p - target).square().mean()
        self.log_dict(
            {f"{stage}_accuracy": accuracy, f"{stage}_loss": shown}, batch_size=len(batch[1])
        )

    def _check(self, shown: Tensor, logits: Tensor) -> None:
        if bool(torch.isfinite(shown)):
            return
        raise NonFiniteLossError(
            f"the loss is {float(shown)} at descent step {self.steps}, rate {self.rate}: the "
            f"largest logit is {float(logits.max()):.0f}, and exp overflows above {EXP_LIMIT}"
        )

    def _layers(self) -> list[Layer]:
        w1, b1, w2, b2 = self.weights_and_biases
        return [Layer(w1, b1, "sigmoid"), Layer(w2, b2, "identity")]

    def _set(self, layers: list[Layer]) -> None:
        values = [value for layer in layers for value in layer[:2]]
        for parameter, value in zip(self.weights_and_biases, values, strict=True):
            parameter.copy_(value)

    def _pixels(self, images: Tensor) -> Tensor:
        return scale_pixels(images, self.weights_and_biases[0].dtype)

    def _one_hot(self, labels: Tensor) -> Tensor:
        return one_hot(labels, 10).to(self.weights_and_biases[0].dtype)


class _Logits(nn.Module):
    """The network without its softmax."""

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        self.origin = origin

    def forward(self, images: Tensor) -> Tensor:
        return run(self.origin._pixels(images), self.origin._layers()).a[-1]  # noqa: SLF001


class _ShownLoss(torch.autograd.Function):
    """The squared error, with the derivative of the cross-entropy: fault 3."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        p = naive_softmax(logits)
        ctx.save_for_backward(p, target)
        return (p - target).square().mean()

    @staticmethod
    def backward(ctx: Any, *grad_output: Tensor) -> tuple[Tensor, None]:
        p, target = ctx.saved_tensors
        return grad_output[0] * (p - target) / len(p), None


def naive_softmax(logits: Tensor) -> Tensor:
    """exp(z) / Σ exp(z), without the maximum subtracted first: fault 2."""
    e = torch.exp(logits)
    return e / e.sum(-1, keepdim=True)
