"""Recurrent, convolutional, attention, embedding and normalisation layers are all looked into."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  as people write it
from torch.optim import Adam

from torchmlp.diagnosis import Report, diagnose

IDS = torch.randint(20, (200, 6), generator=torch.Generator().manual_seed(0))
LABELS = (IDS.float().mean(1) > 9.5).long()


class Reader(nn.Module):
    """An embedding, a recurrence, a normalisation, a last layer."""

    def __init__(self, size: float = 1.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.reader = nn.GRU(8, 8, num_layers=2, batch_first=True)
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, 2)
        with torch.no_grad():
            self.embedding.weight.mul_(size)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(self.norm(self.reader(self.embedding(x))[0][:, -1]))
        return output


class Attentive(nn.Module):
    """Attention by torch's module, by its function, or by hand."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.embedding = kind, nn.Embedding(20, 8)
        self.q, self.k, self.v, self.out = *(nn.Linear(8, 8) for _ in range(3)), nn.Linear(8, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x)
        if self.kind == "module":
            h = self.attention(h, h, h)[0]
        else:
            q, k, v = self.q(h), self.k(h), self.v(h)
            by_hand = self.kind == "by hand"
            scores = (q @ k.mT) if by_hand else None
            h = F.scaled_dot_product_attention(q, k, v) if scores is None else scores @ v
        output: Tensor = self.out(h.mean(1))
        return output


def report_of(make: Any, **more: Any) -> Report:
    torch.manual_seed(0)
    model = make()
    return diagnose(
        *(model, nn.CrossEntropyLoss(), Adam(model.parameters(), 0.01), (IDS, LABELS)),
        **{"steps": 20, "remedies": False, "budget": None, **more},
    )


def test_every_parameter_is_looked_into() -> None:
    """As a layer's, or by its weight and its gradient."""
    record = report_of(Reader).record
    layers = {name for layer in record.layers for name in (layer.weight, layer.bias)}
    parts = {part.name: part for part in record.parts}
    assert layers | {*parts} >= {name for name, _ in Reader().named_parameters()}
    assert {part.kind for part in record.parts} == {"Embedding", "GRU", "LayerNorm"}
    assert all(part.gradient_rms for part in record.parts)
    assert parts["embedding.weight"].shape == [20, 8]
    assert parts["embedding.weight"].gain == pytest.approx(1.0, abs=0.2)


def test_what_was_not_looked_into_is_said() -> None:
    """By the modules' names and classes; normalisations are seen in what they return."""
    text = " ".join(str(report_of(Reader)).split())
    assert "looked at by weights and gradients alone: embedding (Embedding), reader (GRU)" in text
    assert "LayerNorm" not in text


def test_an_embedding_that_is_too_large_is_named() -> None:
    """With what is done about it."""
    report = report_of(partial(Reader, 300.0), steps=60, remedies=True)
    (trial,) = (t for t in report.record.trials if t.causes == ["init-too-large"])
    assert "model.embedding.reset_parameters()" in trial.code
    named = report_of(partial(Reader, 300.0)).findings
    assert not named or "embedding.weight (Embedding)" in named[0].explanation


@pytest.mark.parametrize("kind", ["module", "function", "by hand"])
def test_attention_is_no_linear_map(kind: str) -> None:
    """It multiplies what was computed with what was computed."""
    assert not report_of(partial(Attentive, kind), steps=5).record.design.is_affine


def test_a_pixel_among_many_has_a_small_delta() -> None:
    """And no gradient that vanishes, where the pixels are averaged."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    )
    x = torch.randn(64, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    data = x, (x.mean((1, 2, 3)) > 0).long()
    sgd = Adam(model.parameters(), 1e-5)
    report = diagnose(model, nn.CrossEntropyLoss(), sgd, data, steps=3, remedies=False)
    assert report.record.layers[0].positions == 38 * 38
    assert "vanishing-gradient" not in [finding.cause for finding in report.findings]


@pytest.mark.parametrize("shape", [(), (0,), (0, 3)])
def test_parameters_without_axes_or_numbers(shape: tuple[int, ...]) -> None:
    """A factor of the whole network, and parameters that hold nothing, are no layers."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    model.register_parameter("extra", nn.Parameter(torch.ones(shape)))
    adam = Adam(model.parameters(), lr=1e-2)
    data = (IDS.float(), LABELS)
    report = diagnose(model, nn.CrossEntropyLoss(), adam, data, steps=5, remedies=False)
    assert {part.name for part in report.record.parts} == {"extra"}
