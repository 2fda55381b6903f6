"""Bounded history of a live run: losses and layer statistics, subsampled."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from torchmlp.diagnosis.measure.layer_statistics import BLOCKED, SLOPES, between, rms
from torchmlp.diagnosis.record.record import LayerSample, Record, Sample
from torchmlp.engine.state.workspace import LayerBuffers
from torchmlp.kernels.activations import ACTIVATIONS

# A sample is taken where its own time is at most this share of the time since the last.
SHARE = 0.02
LOSSES = 2000  # kept; then each two become their mean
SAMPLES = 60  # kept; then every second is left out


class SamplingSchedule:
    """Says when the layers are looked at: at steps 0, 1, 2, 4, ..., and as often as is cheap."""

    def __init__(self) -> None:
        self.step = -1
        self._doubling = 0
        self._next = 0.0

    def is_due(self) -> bool:
        """Count a step; whether to look at it."""
        self.step += 1
        if self.step >= self._doubling or time.perf_counter() >= self._next:
            self._doubling = (
                max(2 * self.step, 1) if self.step >= self._doubling else self._doubling
            )
            return True
        return False

    def took(self, seconds: float) -> None:
        """What a look has cost."""
        self._next = time.perf_counter() + seconds / SHARE


class LossHistory:
    """Losses of all steps, in means over as many steps as it takes to keep few."""

    def __init__(self, kept: list[float]) -> None:
        self.kept = kept
        self.size = 1
        self._open: list[float] = []

    def add(self, loss: float) -> None:
        """The loss of a step."""
        if self.size == 1:
            self.kept.append(loss)
        else:
            self._open.append(loss)
            if len(self._open) < self.size:
                return
            self.kept.append(sum(self._open) / self.size)
            self._open.clear()
        if len(self.kept) >= LOSSES:
            self.kept[:] = [
                (a + b) / 2 for a, b in zip(self.kept[::2], self.kept[1::2], strict=False)
            ]
            self.size *= 2


def keep(record: Record, step: int, layers: list[LayerSample]) -> None:
    """Add a sample of the layers; of many, every second but the first is left out."""
    record.samples.append(Sample(step, layers))
    if len(record.samples) > SAMPLES:
        record.samples[:] = record.samples[::2]


@torch.no_grad()
def sample_buffers(layers: Sequence[LayerBuffers]) -> list[LayerSample]:
    """The layers of an engine's last step, as its buffers hold them."""
    return [_of_buffers(layer) for layer in layers]


def _slope(layer: LayerBuffers) -> Tensor:
    """φ'(z): kept by the step, or found from what it kept."""
    if layer.slope is not None:
        return layer.slope
    # Where no z is kept φ' is a function of a, and that of z too: a kink lies at the same place.
    read = layer.a if layer.z is layer.a else layer.z
    return ACTIVATIONS[layer.activation].pullback(torch.ones_like(layer.a), read)


def _of_buffers(layer: LayerBuffers) -> LayerSample:
    phi = ACTIVATIONS[layer.activation]
    sample = LayerSample(
        a_rms=rms(layer.a),
        between_sample_variance=between(layer.a, len(layer.a)),
        weight_rms=rms(layer.weight),
        delta_rms=None if layer.delta is None else rms(layer.delta),
    )
    has_z = phi.reads == "z" and layer.z is not layer.a
    if has_z:
        sample.z_mean = float(layer.z.mean())
        sample.z_std = float(layer.z.std(correction=0))
        sample.z_max = float(layer.z.abs().max())
    if layer.activation != "identity":
        slope = _slope(layer).abs()
        blocked = slope < BLOCKED * SLOPES.get(layer.activation, 1.0)
        sample.saturated = float(blocked.double().mean())
        sample.dead = float(blocked.all(0).double().mean())
    else:
        sample.z_max = float(layer.a.abs().max())
    return sample
