"""The step whose bias, activation and slope are Triton's kernels; products and loss are torch's."""

import torch
from torch import Tensor

from torchmlp.engine.state.workspace import LayerBuffers
from torchmlp.engine.steps.mixed_step import MixedStep
from torchmlp.engine.steps.torch_step import TorchStep
from torchmlp.engine.triton import kernels
from torchmlp.kernels.activations import ACTIVATIONS

BLOCK = 1024  # elements of a program
DTYPES = (torch.float32, torch.bfloat16, torch.float16)  # float64 is left to torch


class _Kernels(TorchStep):
    """What is another than in `TorchStep`."""

    def _run(self, x: Tensor) -> None:
        for layer in self.workspace.layers:
            if layer.activation == "identity" and layer.mask is None and layer.bias is not None:
                torch.addmm(layer.bias, x, layer.weight_t, out=layer.z)
            else:
                torch.mm(x, layer.weight_t, out=layer.z)
                activate(layer)
            x = layer.dropped

    def _scan(self) -> None:
        workspace = self.workspace
        layers = workspace.layers
        for k in reversed(range(workspace.lowest, len(layers))):
            layer, is_last = layers[k], k == len(layers) - 1
            assert layer.delta is not None
            if not is_last:
                above = layers[k + 1]
                assert above.delta is not None
                torch.mm(above.delta, above.weight, out=layer.delta)
            pull_back(layer, None if is_last else layer.mask)


class TritonStep(_Kernels):
    """A `TorchStep` with kernels."""


class TritonMixedStep(_Kernels, MixedStep):
    """A `MixedStep` with kernels."""


def activate(layer: LayerBuffers) -> None:
    """Of a layer's z = x Wᵀ: z + b, a, and what of a is not dropped."""
    z, a = layer.z, layer.a
    if not (count := z.numel()):
        return
    bias, mask = layer.bias, layer.mask
    kernels.bias_activation[_programs(count)](
        z,
        z if bias is None else bias,
        z if mask is None else mask,
        a,
        layer.dropped,
        count,
        z.shape[1],
        PHI=layer.activation,
        HAS_BIAS=bias is not None,
        KEEPS_Z=z is not a,
        HAS_MASK=mask is not None,
        BLOCK=BLOCK,
    )


def pull_back(layer: LayerBuffers, mask: Tensor | None) -> None:
    """Of a layer's gradient of what it hands on, in `delta`: its delta."""
    delta = layer.delta
    assert delta is not None
    if not (count := delta.numel()) or (layer.activation == "identity" and mask is None):
        return
    read = layer.z if ACTIVATIONS[layer.activation].reads == "z" else layer.a
    kernels.delta_slope[_programs(count)](
        delta,
        read,
        delta if mask is None else mask,
        count,
        PHI=layer.activation,
        HAS_MASK=mask is not None,
        BLOCK=BLOCK,
    )


def _programs(count: int) -> tuple[int]:
    return (-(-count // BLOCK),)
