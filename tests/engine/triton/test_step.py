"""The step with Triton's kernels beside the step in torch's operators."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine.twins import distance, network
from torchmlp import MLP
from torchmlp.engine.state.sgd_update import gradient_only
from torchmlp.engine.state.updates import Slot
from torchmlp.engine.state.workspace import Workspace
from torchmlp.engine.steps.mixed_step import MixedStep, MixedWorkspace
from torchmlp.engine.steps.torch_step import TorchStep
from torchmlp.kernels.activations import ACTIVATIONS

# Of all gradients together. 16-bit values are rounded at other places: z after the bias and not
# before it, a from the z that was not rounded.
TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3}
ROWS = 37


def taken(step: TorchStep, mlp: MLP, x: Tensor, target: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of a step."""
    wide = torch.float32
    into = [torch.zeros_like(p, dtype=wide, requires_grad=False) for p in mlp.parameters()]
    pairs = [p for pair in zip(mlp.weights, mlp.biases, strict=True) for p in pair]
    grads = iter(into)
    step.bind([None if p is None else Slot(p, next(grads), 0) for p in pairs])
    torch.manual_seed(1)
    return step.take(x, target, [gradient_only()]), into


def both(
    mlp: MLP, x: Tensor, target: Tensor, precision: torch.dtype | None = None
) -> list[tuple[Tensor, list[Tensor]]]:
    """The step in torch's operators, and with kernels."""
    from torchmlp.engine.triton.step import TritonMixedStep, TritonStep  # noqa: PLC0415  needs triton

    found = []
    for kind in (False, True):
        if precision is None:
            plain = Workspace(mlp, len(x), 0, is_pixels=False)
            step: TorchStep = (TritonStep if kind else TorchStep)(plain, "cross_entropy")
        else:
            mixed = MixedWorkspace(mlp, len(x), 0, precision, is_pixels=False)
            step = (TritonMixedStep if kind else MixedStep)(mixed, "cross_entropy")
        found.append(taken(step, mlp, x, target))
    return found


def batch(gpu: torch.device, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return (2 * torch.randn(rows, 6)).to(gpu), (torch.arange(rows) % 3).to(gpu)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(gpu: torch.device, activation: str) -> None:
    """In float32: torch's loss and gradients to a few roundings, in hidden layers and the last."""
    x, target = batch(gpu)
    for last in ("identity", activation):
        mlp = network(activation, output_activation=last, dtype=torch.float32).to(gpu)
        (loss, expected), (mine, found) = both(mlp, x, target)
        torch.testing.assert_close(mine, loss, rtol=1e-6, atol=1e-6)
        assert distance(found, expected) < TOLERANCES[torch.float32]


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_sixteen_bits(gpu: torch.device, activation: str, precision: torch.dtype) -> None:
    """Products in 16 bits: the same to their rounding."""
    mlp = network(activation, dtype=torch.float32).to(gpu)
    (loss, expected), (mine, found) = both(mlp, *batch(gpu), precision)
    torch.testing.assert_close(mine, loss, rtol=TOLERANCES[precision], atol=0)
    assert distance(found, expected) < TOLERANCES[precision]


@pytest.mark.parametrize("kind", ["dropout", "no bias", "one row", "wide", "no rows"])
def test_what_a_step_can_meet(gpu: torch.device, kind: str) -> None:
    """Masks, no biases, one row, more elements than one program takes, none at all."""
    settings: Any = {"dropout": 0.4} if kind == "dropout" else {"bias": kind != "no bias"}
    widths = (6, 1000, 3) if kind == "wide" else (6, 8, 5, 3)
    mlp = network("gelu", widths, dtype=torch.float32, **settings).to(gpu)
    rows = {"one row": 1, "no rows": 0}.get(kind, ROWS)
    (loss, expected), (mine, found) = both(mlp, *batch(gpu, rows))
    torch.testing.assert_close(mine, loss, rtol=1e-6, atol=1e-6, equal_nan=True)
    if rows:
        assert distance(found, expected) < TOLERANCES[torch.float32]
    else:
        assert not any(bool(g.any()) for g in found)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "identity"])
def test_values_far_out_and_nan(gpu: torch.device, activation: str) -> None:
    """φ and its slope at large and tiny numbers of either sign, at kinks, and nan for nan."""
    from torchmlp.engine.state.workspace import LayerBuffers  # noqa: PLC0415  beside those that need triton
    from torchmlp.engine.triton.step import activate, pull_back  # noqa: PLC0415  needs triton
    from torchmlp.kernels import activations  # noqa: PLC0415  beside those that need triton

    numbers = [0.0, 1e-6, 3e-3, 0.05, 0.3, 1.0, 3.0, 6.0, 12.0, 25.0, 80.0, float("nan")]
    z = torch.tensor([[*numbers, *(-x for x in numbers)]], device=gpu)
    reads_z = ACTIVATIONS[activation].reads == "z"
    a = torch.empty_like(z) if reads_z else z.clone()
    layer = LayerBuffers(
        z[:, :1].t(),
        None,
        activation,
        z=z.clone() if reads_z else a,
        slope=None,
        a=a,
        mask=None,
        dropped=a,
        delta=torch.ones_like(z),
    )
    activate(layer)
    expected = activations.activate(z.double(), activation)
    torch.testing.assert_close(a.double(), expected, rtol=2e-6, atol=2e-7, equal_nan=True)
    pull_back(layer, None)
    assert layer.delta is not None
    slope = activations.pull_back(torch.ones_like(z).double(), z.double(), expected, activation)
    torch.testing.assert_close(layer.delta.double(), slope, rtol=1e-5, atol=1e-6, equal_nan=True)
