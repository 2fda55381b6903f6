"""The buffers that a step over so many rows works in: activations, deltas, and nothing else."""

from dataclasses import dataclass

import torch
from torch import Tensor

from torchmlp.engine.state.addresses import fixed
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.dropout import draw_mask_
from torchmlp.nn.mlp import MLP


@dataclass
class LayerBuffers:
    """One layer's parameters, without autograd, and what a step computes of it.

    Attributes:
        weight: (fan_out, fan_in), bias: (fan_out,) or None; the model's own memory.
        activation: its name.
        z: (rows, fan_out), the pre-activation; `a` itself where φ' is a function of a, or kept.
        slope: (rows, fan_out), φ'(z), where the step in C++ keeps it; None elsewhere.
        a: (rows, fan_out), φ(z).
        mask: dropout's, or None.
        dropped: a ⊙ mask, what the next layer reads; `a` itself without dropout.
        delta: ∂e/∂z, per sample; None below the lowest layer that is trained.
    """

    weight: Tensor
    bias: Tensor | None
    activation: str
    z: Tensor
    slope: Tensor | None
    a: Tensor
    mask: Tensor | None
    dropped: Tensor
    delta: Tensor | None

    def __post_init__(self) -> None:
        self.weight_t = self.weight.t()
        self.delta_t = None if self.delta is None else self.delta.t()


class Workspace:
    """What a step over `rows` samples needs, allocated once.

    Args:
        model: gives the layers; its parameters are used where they lie.
        rows: samples in a batch.
        is_pixels: whether the inputs are uint8, 0..255, to be scaled to 0..1.
        lowest: index of the lowest layer that is trained; no delta is kept below.
        is_gathered: whether rows are taken from here and there, so that they need a copy.
        keeps_slopes: the activations of which φ'(z) is kept in place of z.
        precision: of the buffers, where it is not that of the parameters; the layers then have
            copies of those, to be filled before each step.
    """

    def __init__(
        self,
        model: MLP,
        rows: int,
        lowest: int,
        *,
        is_pixels: bool,
        is_gathered: bool = False,
        keeps_slopes: frozenset[str] = frozenset(),
        precision: torch.dtype | None = None,
    ) -> None:
        self.rows, self.lowest, self.is_pixels = rows, lowest, is_pixels
        weights, biases, activations = model.weights, model.biases, model.activations
        like = weights[0].detach()
        if precision is not None:
            like = like.new_empty(0, dtype=precision)
        hidden_rate, input_rate = (
            (model.dropout, model.input_dropout) if model.training else (0.0, 0.0)
        )
        self.rates = (input_rate, hidden_rate)
        width = weights[0].shape[1]
        self.input_mask = fixed(like, rows, width) if input_rate else None
        has_copy = is_pixels or is_gathered or input_rate
        self.x = fixed(like, rows, width) if has_copy else None
        self.ones = like.new_ones(rows)
        self.layers: list[LayerBuffers] = []
        last = len(weights) - 1
        for k, (weight, bias, activation) in enumerate(
            zip(weights, biases, activations, strict=True)
        ):
            shape = (rows, weight.shape[0])
            a = fixed(like, *shape)
            is_dropped = hidden_rate and k < last
            has_slope = activation in keeps_slopes
            has_z = ACTIVATIONS[activation].reads == "z" and not keeps_slopes
            used, added = weight.detach(), None if bias is None else bias.detach()
            if precision is not None:
                used = fixed(like, *used.shape)
                added = None if added is None else fixed(like, *added.shape)
            self.layers.append(
                LayerBuffers(
                    weight=used,
                    bias=added,
                    activation=activation,
                    z=fixed(like, *shape) if has_z else a,
                    slope=fixed(like, *shape) if has_slope else None,
                    a=a,
                    mask=fixed(like, *shape) if is_dropped else None,
                    dropped=fixed(like, *shape) if is_dropped else a,
                    delta=fixed(like, *shape) if k >= lowest else None,
                )
            )

    @property
    def buffers(self) -> list[Tensor]:
        """All that a step writes into, apart from the parameters."""
        found = [self.x, self.input_mask]
        for layer in self.layers:
            found += [layer.z, layer.slope, layer.a, layer.mask, layer.dropped, layer.delta]
        return [tensor for tensor in found if tensor is not None]

    def draw_masks(self) -> None:
        """Draw dropout's masks, in the order and from the generator that `MLP.forward` does."""
        input_rate, hidden_rate = self.rates
        if self.input_mask is not None:
            draw_mask_(self.input_mask, input_rate)
        if hidden_rate:
            for layer in self.layers[:-1]:
                assert layer.mask is not None
                draw_mask_(layer.mask, hidden_rate)
