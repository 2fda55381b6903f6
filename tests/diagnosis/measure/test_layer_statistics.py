"""Statistics of a layer are those of their definitions."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tests.diagnosis.runs import Bent, net
from torchmlp import MLP
from torchmlp.diagnosis.measure.layer_statistics import (
    between,
    measure_layer,
    rms,
    sample_layers,
    slope_of,
    spread,
)
from torchmlp.diagnosis.record.record import Layer, LayerSample
from torchmlp.diagnosis.trace.layers import TracedLayer, find_layers
from torchmlp.diagnosis.trace.trace import Trace

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3


def layers(model: nn.Module, x: Tensor = X) -> list[Layer]:
    return [measure_layer(k, place, model, len(x)) for k, place in enumerate(found(model, x), 1)]


def found(model: nn.Module, x: Tensor = X) -> list[TracedLayer]:
    trace = Trace(model)
    with trace:
        model(x)
    return find_layers(trace.calls)


def test_rms_is_the_root_of_the_mean_square() -> None:
    """0 for nothing."""
    assert rms(torch.tensor([3.0, -4.0])) == pytest.approx(math.sqrt(12.5))
    assert rms(torch.zeros(0)) == 0
    assert rms(torch.full((4,), 1e-30)) == pytest.approx(1e-30)


def test_spread_is_0_for_equal_units_and_near_1_for_drawn_ones() -> None:
    """Rows are units; a lone one is like no other."""
    assert spread(torch.tensor([[1.0, 2.0], [1.0, 2.0]]).double()) == 0
    assert spread(torch.zeros(3, 2)) == 0
    assert spread(torch.randn(50, 50)) == pytest.approx(1, abs=0.05)
    assert spread(torch.ones(1, 3)) == 1


@pytest.mark.parametrize("fan_in", [20, 200])
def test_the_gain_is_told_apart_from_fan_in(fan_in: int) -> None:
    """He's is √2 whatever the width, LeCun's 1."""
    he = partial(nn.init.kaiming_normal_, nonlinearity="relu")
    lecun = partial(nn.init.kaiming_normal_, nonlinearity="linear")
    for init, gain in ((he, math.sqrt(2)), (lecun, 1.0)):
        layer, *_ = layers(net(fan_in, 400, 3, init=init), torch.randn(5, fan_in))
        assert layer.gain == pytest.approx(gain, rel=0.05)
        assert (layer.fan_in, layer.fan_out) == (fan_in, 400)


def test_a_layer_is_told_by_name_kind_and_activation() -> None:
    """With the moments of its weight and bias."""
    dense = nn.Linear(3, 4)
    model = nn.Sequential(dense, nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2, bias=False))
    first, last = layers(model)
    assert (first.index, first.name, first.kind, first.activation) == (1, "0", "linear", "tanh")
    assert (last.index, last.name, last.activation, last.bias_mean) == (2, "3", "identity", None)
    assert first.has_norm
    assert not last.has_norm
    weight, bias = dense.weight.detach(), dense.bias.detach()
    assert first.weight_mean == pytest.approx(float(weight.mean()))
    assert first.weight_std == pytest.approx(float(weight.std(correction=0)))
    assert first.bias_std == pytest.approx(float(bias.std(correction=0)))


class Turned(nn.Module):
    """x W: units in columns."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


@pytest.mark.parametrize("shape", [(3, 5), (3, 3)], ids=str)
def test_units_may_stand_in_columns(shape: tuple[int, int]) -> None:
    """Equal columns are equal units of x W; equal rows are not."""
    equal = torch.arange(3.0)[:, None].expand(shape).clone()
    (layer,) = layers(Turned(equal))
    assert (layer.fan_in, layer.fan_out) == shape
    assert layer.unit_spread == 0
    (layer,) = layers(Turned(torch.randn(shape)))
    assert layer.unit_spread > 0.3


def test_the_histogram_holds_every_z() -> None:
    """Between the least and the largest, with its edges; where φ is steep is marked."""
    model = net(3, 4, 2, phi=nn.ReLU)
    layer, _ = layers(model)
    z = found(model)[0].z.detach()
    assert sum(layer.z_counts) == z.numel()
    assert len(layer.z_edges) == len(layer.z_counts) + 1
    assert layer.z_edges[0] == pytest.approx(float(z.min()))
    assert layer.z_edges[-1] == pytest.approx(float(z.max()))
    assert layer.linear_range is not None
    assert layer.linear_range[0] == pytest.approx(float(z[z > 0].min()))


def test_equal_values_have_a_histogram_too() -> None:
    """All in one place."""
    layer, _ = layers(net(3, 4, 2, init=nn.init.zeros_, bias=0.0))
    assert max(layer.z_counts) == sum(layer.z_counts) == 160


@pytest.mark.parametrize("phi", [nn.ReLU, nn.Sigmoid, nn.Tanh, nn.GELU])
def test_the_slope_is_that_of_the_activation(phi: type[nn.Module]) -> None:
    """|φ'(z)|, against differences."""
    place, last = found(net(3, 4, 2, phi=phi).double(), X.double())
    slope = slope_of(place)
    assert slope is not None
    z = place.z.detach()
    expected = ((phi()(z + 1e-6) - phi()(z - 1e-6)) / 2e-6).abs()
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-7)
    assert slope_of(last) is None


def test_the_slope_of_a_written_out_activation_is_known() -> None:
    """Autograd is asked."""
    place, _ = found(net(3, 4, 2, phi=lambda: Bent(lambda z: z.clamp(min=0))))
    slope = slope_of(place)
    assert slope is not None
    assert torch.equal(slope, (place.z > 0).float())


def test_between_is_the_variance_between_samples() -> None:
    """Over the mean square: 0 where all samples look the same, 1 where their mean is 0."""
    assert between(torch.ones(5, 3), 5) == 0
    assert between(torch.tensor([[1.0], [-1.0]]), 2) == 1
    assert between(torch.zeros(5, 3), 5) == 0
    assert between(torch.ones(1, 3), 1) is None
    assert between(torch.ones(4, 3), 5) is None


def sampled(model: nn.Module, x: Tensor = X) -> tuple[list[LayerSample], list[Tensor | None]]:
    """The layers at a step of cross-entropy."""
    trace = Trace(model)
    with trace:
        output = model(x)
    at = find_layers(trace.calls)
    parameters = dict(model.named_parameters())
    return sample_layers(
        at, F.cross_entropy(output, Y), len(x), [parameters[p.call.weight] for p in at]
    )


@pytest.mark.parametrize("kind", ["Sequential", "MLP"])
def test_delta_is_that_of_a_sample(kind: str) -> None:
    """Softmax less target in the last layer, and what backpropagation makes of it below."""
    model: nn.Module = net(3, 5, 3) if kind == "Sequential" else MLP(3, 5, 3)
    samples, gradients = sampled(model)
    first, _, last, *_ = [*model.parameters()]
    z = found(model)[0].z.detach()
    delta = model(X).softmax(1).detach() - F.one_hot(Y).float()
    below = (delta @ last.detach()) * (z > 0)
    assert samples[1].delta_rms == pytest.approx(rms(delta), rel=1e-5)
    assert samples[0].delta_rms == pytest.approx(rms(below), rel=1e-5)
    assert gradients[0] is not None
    torch.testing.assert_close(gradients[0], below.T @ X / len(X))
    assert samples[0].gradient_rms == pytest.approx(rms(gradients[0]))
    assert samples[0].weight_rms == pytest.approx(rms(first))
    assert samples[0].a_rms == pytest.approx(rms(z.relu()), rel=1e-5)
    assert samples[0].z_max == pytest.approx(float(z.abs().max()))


def test_dead_and_blocked_units_are_counted() -> None:
    """Blocked are elements, dead are units that are so for every sample."""
    model = net(3, 4, 3)
    with torch.no_grad():
        [*model.parameters()][1].copy_(torch.tensor([-50.0, 0.0, 50.0, 50.0]))
    samples, _ = sampled(model)
    open_ = (found(model)[0].z > 0).float()
    assert samples[0].dead == 0.25
    assert samples[0].saturated == pytest.approx(1 - float(open_.mean()))
    assert samples[1].dead is None


def test_saturated_units_are_blocked() -> None:
    """On the flat parts of a sigmoid, not in its middle."""
    for bias, share in ((0.0, 0.0), (50.0, 1.0), (-50.0, 1.0)):
        samples, _ = sampled(net(3, 4, 3, phi=nn.Sigmoid, bias=bias))
        assert samples[0].saturated == share


def test_a_channel_is_a_unit() -> None:
    """It is dead where it is off at every place of every sample."""
    model = nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)
    )
    with torch.no_grad():
        [*model.parameters()][1].copy_(torch.tensor([-50.0, 50.0]))
    assert sampled(model)[0][0].dead == 0.5


def test_a_frozen_layer_has_no_gradient() -> None:
    """Those above it have."""
    model = net(3, 4, 3)
    next(model.parameters()).requires_grad_(False)
    samples, gradients = sampled(model)
    assert gradients[0] is None
    assert samples[0].gradient_rms is None
    assert samples[1].gradient_rms is not None
    assert not layers(model)[0].is_trained


def test_deltas_lost_in_16_bits_are_counted() -> None:
    """Those that are 0 or subnormal; none in 32 bits."""
    model = net(3, 4, 3).half()
    trace = Trace(model)
    with trace:
        output = model(X.half())
    at = find_layers(trace.calls)
    weights = [*model.parameters()][::2]
    for scale, lost in ((1.0, False), (1e-4, True)):
        samples, _ = sample_layers(at, scale * F.cross_entropy(output, Y), 40, weights)
        assert samples[1].underflow is not None
        assert (samples[1].underflow > 0.9) == lost
    assert sampled(net(3, 4, 3))[0][1].underflow is None
