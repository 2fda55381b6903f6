import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.lightning.lightning_runs import ignore_lightnings_own, quiet_trainer
from torchmlp import ImageDataModule
from torchmlp._compat.lightning import pl
from torchmlp.examples.origin import EXP_LIMIT, Origin, naive_softmax
from torchmlp.kernels.network import run as run_layers
from torchmlp.lightning.callbacks.terminate_on_nonfinite import NonFiniteLossError

pytestmark = ignore_lightnings_own


def digits() -> ImageDataModule:
    """Minibatches of 20, as its owner had them."""
    return ImageDataModule(source="embedded", batch_size=20)


def origin(rate: float, steps_per_minibatch: int = 1) -> Origin:
    torch.manual_seed(1)
    return Origin(rate=rate, steps_per_minibatch=steps_per_minibatch).double()


class Watched(pl.Callback):
    """Keeps the smallest probability of every minibatch, and whether one was nan."""

    def __init__(self) -> None:
        self.smallest: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object, **__: object) -> None:
        self.smallest.append(float(trainer.callback_metrics["smallest_p"]))


def train(folder: Path, model: Origin, steps: int) -> tuple[pl.Trainer, list[float]]:
    """Trains on a number of minibatches; the smallest probability of each."""
    watched = Watched()
    trainer = quiet_trainer(
        folder,
        max_epochs=1,
        limit_train_batches=steps,
        num_sanity_val_steps=0,
        precision="64-true",
        callbacks=[watched],
    )
    trainer.fit(model, datamodule=digits())
    return trainer, watched.smallest


def hidden_units(model: Origin) -> tuple[Tensor, Tensor]:
    """Pre-activations and activations of the hidden layer over some minibatches."""
    with torch.no_grad():
        images = digits().test_dataloader().inputs[:200]
        passed = run_layers(model._pixels(images), model._layers())
    return passed.z[0], passed.a[1]


def test_hidden_units_are_saturated_from_the_start() -> None:
    """Fault 1: z is about 50, four of five units or more are 1.0 to the last bit, and their
    derivative is therefore exactly 0."""
    z, a = hidden_units(origin(1.0))
    assert 35 < z.mean() < 65
    saturated = a == 1.0
    assert saturated.double().mean() >= 0.8
    assert (a * (1 - a))[saturated].count_nonzero() == 0


def test_sane_weights_are_not_saturated() -> None:
    """The same network with weights scaled by fan-in: no unit is saturated."""
    model = origin(1.0)
    with torch.no_grad():
        model.weights_and_biases[0].sub_(0.5).mul_(2 / math.sqrt(784))
    _, a = hidden_units(model)
    assert (a == 1.0).count_nonzero() == 0


def test_rate_1_is_nan_at_the_second_step(tmp_path: Path) -> None:
    """One descent step moves a logit past what exp can take; the reason is in the message."""
    with pytest.raises(
        NonFiniteLossError, match=r"nan at descent step 2, rate 1\.0: the"
    ) as caught:
        train(tmp_path, origin(1.0, 100), 1)
    assert "exp overflows above 709.78" in str(caught.value)


def test_rate_0_2_is_hopeless_instead(tmp_path: Path) -> None:
    """Probabilities below 1e-80 within five minibatches, no nan, and an accuracy of chance."""
    model = origin(0.2)
    trainer, smallest = train(tmp_path, model, 5)
    assert not any(map(math.isnan, smallest))
    assert 0 <= min(smallest) < 1e-80
    (metrics,) = trainer.test(model, datamodule=digits(), verbose=False)
    assert 0.05 < metrics["test_accuracy"] < 0.2
    assert not any(p.isnan().any() for p in model.parameters())
    _, a = hidden_units(model)
    assert (a == 1.0).double().mean() >= 0.8


@pytest.mark.slow
def test_a_hundred_steps_per_minibatch_do_not_help(tmp_path: Path) -> None:
    """As its owner ran it, with rate 0.2: still chance."""
    model = origin(0.2, 100)
    trainer, _ = train(tmp_path, model, 3)
    (metrics,) = trainer.test(model, datamodule=digits(), verbose=False)
    assert 0.05 < metrics["test_accuracy"] < 0.2


def test_the_gradients_are_right(tmp_path: Path) -> None:
    """A step is the step of plain autograd on the stable cross-entropy: right gradients do not
    save it."""
    model = origin(0.01)
    with torch.no_grad():
        model.weights_and_biases[0].sub_(0.5).mul_(2 / math.sqrt(784))
        model.weights_and_biases[2].sub_(0.5).mul_(2 / math.sqrt(1000))
    w1, b1, w2, b2 = (p.detach().clone().requires_grad_() for p in model.weights_and_biases)
    loader = digits().train_dataloader()
    loader.set_epoch(1)  # a run's first
    images, labels = next(iter(loader))
    hidden = torch.sigmoid(images.flatten(1).double() / 255 @ w1.T + b1)
    loss = torch.nn.functional.cross_entropy(hidden @ w2.T + b2, labels)
    gradients = torch.autograd.grad(loss, (w1, b1, w2, b2))
    train(tmp_path, model, 1)
    for parameter, before, gradient in zip(
        model.weights_and_biases, (w1, b1, w2, b2), gradients, strict=True
    ):
        torch.testing.assert_close(
            parameter.detach(), before.detach() - 0.01 * gradient, rtol=0, atol=1e-12
        )


def test_its_softmax_overflows_where_it_says() -> None:
    """Fault 2: right below 709.78, nan above; torch's own is right on both sides."""
    for size, is_nan in ((EXP_LIMIT - 0.01, False), (EXP_LIMIT + 0.01, True)):
        logits = torch.tensor([size, 0.0], dtype=torch.float64)
        assert bool(naive_softmax(logits).isnan().any()) is is_nan
        assert not logits.softmax(-1).isnan().any()
    logits = torch.randn(7, 10, dtype=torch.float64)
    torch.testing.assert_close(naive_softmax(logits), logits.softmax(-1), rtol=1e-12, atol=0)
