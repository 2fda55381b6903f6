from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own spelling

from tests.lightning.lightning_runs import Recorder, ignore_lightnings_own, quiet_trainer
from torchmlp import Classifier
from torchmlp.data import Batches
from torchmlp.lightning.schedules import OneCycle

pytestmark = ignore_lightnings_own


def pixels(count: int = 50, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Images of 3 x 5 pixels, as uint8, and labels."""
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(256, (count, 3, 5), dtype=torch.uint8, generator=generator)
    return images, torch.arange(count) % classes


def small(**settings: Any) -> Classifier:
    torch.manual_seed(3)
    return Classifier(**{"in_features": 15, "hidden": [8], "out_features": 4, **settings})


def hand_loss(logits: Tensor, labels: Tensor, loss: str) -> Tensor:
    """The mean loss, by torch.nn.functional."""
    one_hot = F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    if loss == "cross_entropy":
        return F.cross_entropy(logits, labels)
    if loss == "mse":
        return 0.5 * (logits - one_hot).square().sum(-1).mean()
    return F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none").sum(-1).mean()


@pytest.mark.parametrize("stage", ["val", "test"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce"])
def test_evaluation_weighs_every_image_alike(tmp_path: Path, loss: str, stage: str) -> None:
    """Loss and accuracy over batches of unequal size are those of all images at once."""
    model = small(loss=loss)
    images, labels = pixels()
    trainer = quiet_trainer(tmp_path)
    measure = trainer.validate if stage == "val" else trainer.test
    (metrics,) = measure(model, Batches(images, labels, 16), verbose=False)
    logits = F.linear(images.flatten(1) / 255, model.mlp.weights[0], model.mlp.biases[0]).relu()
    logits = F.linear(logits, model.mlp.weights[1], model.mlp.biases[1])
    right = sum(int(row.argmax()) == int(label) for row, label in zip(logits, labels, strict=True))
    assert metrics == pytest.approx(
        {
            f"{stage}_loss": hand_loss(logits, labels, loss).item(),
            f"{stage}_accuracy": right / 50,
        },
        rel=1e-6,
    )


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce"])
def test_trains_as_plain_torch_does(tmp_path: Path, loss: str) -> None:
    """From the same weights, over the same batches, with the same SGD: the weights, the losses of
    the epochs and the accuracy of a loop around nn.Sequential."""
    model = small(loss=loss)
    plain = model.mlp.to_sequential()
    model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)  # type: ignore[method-assign]
    loader = Batches(*pixels(), 16, shuffle=True, seed=2)
    trainer = quiet_trainer(tmp_path, max_epochs=3)
    trainer.fit(model, loader, Batches(*pixels(), 50))
    # Lightning iterates once to try whether it can.
    loader.set_epoch(1)
    sgd = torch.optim.SGD(plain.parameters(), lr=0.2, momentum=0.9)
    for _ in range(3):
        total, right = 0.0, 0
        for images, labels in loader:
            sgd.zero_grad()
            logits = plain(images.flatten(1) / 255)
            value = hand_loss(logits, labels, loss)
            value.backward()  # type: ignore[no-untyped-call]
            sgd.step()
            total += value.item() * len(labels)
            right += int((logits.argmax(-1) == labels).sum())
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    metrics = trainer.callback_metrics
    assert float(metrics["train_loss"]) == pytest.approx(total / 50, rel=1e-4)
    assert float(metrics["train_accuracy"]) == pytest.approx(right / 50)


def test_uint8_and_float_images_are_the_same() -> None:
    """Pixels of 0..255 count as 0..1, whatever shape the images have."""
    model = small().eval()
    images, _ = pixels(6)
    logits = model(images)
    assert logits.shape == (6, 4)
    for same in (
        images / 255,
        images.flatten(1),
        images.reshape(6, 1, 3, 5),
        (images / 255).double(),
    ):
        torch.testing.assert_close(model(same), logits, rtol=1e-6, atol=1e-6)


def test_a_double_model_takes_uint8() -> None:
    """The pixels follow the dtype of the weights."""
    assert small().double()(pixels(2)[0]).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_predictions_are_probabilities(dtype: torch.dtype) -> None:
    """Each row is nowhere negative and sums to 1, by the softmax of the logits, in float32 also
    where the model has fewer bits."""
    model = small().to(dtype).eval()
    images, labels = pixels(6)
    p = model.predict_step((images, labels))
    assert p.dtype == torch.float32
    assert p.shape == (6, 4)
    assert (p >= 0).all()
    torch.testing.assert_close(p.sum(-1), torch.ones(6), rtol=0, atol=1e-6)
    powers = model(images).float().exp()
    torch.testing.assert_close(p, powers / powers.sum(-1, keepdim=True))


def test_dropout_acts_in_training_only() -> None:
    """With dropout two training passes differ and two evaluations do not."""
    model = small(dropout=0.5, input_dropout=0.2)
    images, _ = pixels(6)
    assert not model.train()(images).equal(model(images))
    assert model.eval()(images).equal(model(images))


def test_settings_reach_the_network() -> None:
    """Every setting of the network's is the network's."""
    model = small(
        hidden=[7, 6],
        activation="tanh",
        output_activation="sigmoid",
        init="constant(0.5)",
        bias=False,
        dropout=0.25,
        input_dropout=0.125,
    )
    mlp = model.mlp
    assert (mlp.in_features, mlp.hidden, mlp.out_features) == (15, [7, 6], 4)
    assert mlp.activations == ["tanh", "tanh", "sigmoid"]
    assert mlp.biases == [None] * 3
    assert all((weight == 0.5).all() for weight in mlp.weights)
    assert (mlp.dropout, mlp.input_dropout) == (0.25, 0.125)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "mes"}, "unknown loss 'mes'; did you mean 'mse'"),
        ({"activation": "rellu"}, "unknown activation 'rellu'; did you mean 'relu'"),
        ({"hidden": [0]}, "expected widths of at least 1"),
        ({"dropout": 1.0}, r"dropout: expected a rate in 0 <= rate < 1, got 1\.0"),
        ({"init": "hee"}, "hee"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_at_once(settings: dict[str, Any], message: str) -> None:
    """When it is made, not when it first trains."""
    with pytest.raises(ValueError, match=message):
        small(**settings)


def test_a_checkpoint_brings_the_model_back(tmp_path: Path) -> None:
    """load_from_checkpoint needs no setting: the same network, bit for bit."""
    model = small(hidden=[9, 8], activation="gelu", loss="bce", dropout=0.1)
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, Batches(*pixels(), 16), Batches(*pixels(), 50))
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    again = Classifier.load_from_checkpoint(tmp_path / "one.ckpt", weights_only=True)
    assert dict(again.hparams) == dict(model.hparams)
    assert again.loss == "bce"
    images, _ = pixels()
    assert again.eval()(images).equal(model.eval()(images))


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        (
            {"hidden": [9]},
            r"mlp\.layers\.0\.weight is \(8, 15\) in the checkpoint and \(9, 15\) in",
        ),
        (
            {"in_features": 16},
            r"mlp\.layers\.0\.weight is \(8, 15\) in .* and \(8, 16\) in the mod",
        ),
        (
            {"out_features": 5},
            r"mlp\.layers\.1\.weight is \(4, 8\) in the .* and \(5, 8\) in the m",
        ),
        ({"hidden": [8, 8]}, r"mlp\.layers\.1\.weight is \(4, 8\) in the .* and \(8, 8\) in the m"),
        ({"hidden": []}, r"mlp\.layers\.0\.weight is \(8, 15\) in .* and \(4, 15\) in the model"),
        ({"bias": False}, r"mlp\.layers\.0\.bias is \(8,\) in the checkpoint and none in the mode"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_shape_names_the_difference(
    settings: dict[str, Any], difference: str
) -> None:
    """The first parameter that differs, both shapes and the setting; nothing is copied."""
    checkpoint = {"state_dict": small().state_dict()}
    model = small(**settings)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=rf"another shape: {difference}.*\(--hidden\)$"):
        model.on_load_checkpoint(checkpoint)
    assert all(a.equal(b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_checkpoint_without_biases_names_them() -> None:
    """A parameter that only the model has counts as a difference too."""
    checkpoint = {"state_dict": small(bias=False).state_dict()}
    with pytest.raises(
        ValueError, match=r"mlp\.layers\.0\.bias is none in .* and \(8,\) in the mo"
    ):
        small().on_load_checkpoint(checkpoint)


def test_by_itself_it_trains_over_one_cycle(tmp_path: Path) -> None:
    """Without the command line: Nesterov's SGD, its rate over one cycle of the run."""
    recorder = Recorder()
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[recorder])
    trainer.fit(small(), Batches(*pixels(), 16), Batches(*pixels(), 50))
    (optimizer,) = trainer.optimizers
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["nesterov"]
    assert isinstance(trainer.lr_scheduler_configs[0].scheduler, OneCycle)
    assert len(recorder.rates) == 8
    assert recorder.rates[0] == pytest.approx(0.1 / 25)
    assert max(recorder.rates) > 0.09
    assert recorder.rates[-1] == pytest.approx(0.1 / 25e4)


def test_its_network_is_plain_torch_when_wanted() -> None:
    """What is deployed needs neither Lightning nor this package."""
    model = small().eval()
    images, _ = pixels(5)
    plain = model.mlp.to_sequential()
    assert [type(module) for module in plain] == [nn.Linear, nn.ReLU, nn.Linear]
    torch.testing.assert_close(plain(images.flatten(1) / 255), model(images))
