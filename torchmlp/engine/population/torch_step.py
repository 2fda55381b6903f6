"""The step of many networks in torch's batched products: `torchmlp.kernels.network`, one axis more.

Every activation, loss, dtype and device. N networks, B rows; I and O are a layer's fan-in and
fan-out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchmlp.engine.population.parameters import Stack
from torchmlp.engine.state.sgd_update import SGDUpdate
from torchmlp.engine.steps.inplace_activations import in_place
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.losses import loss_delta, sample_losses


class BatchedStep:
    """One step of all networks, into buffers.

    Args:
        stack: their parameters.
        activations: of the layers.
        loss: "cross_entropy", "mse" or "bce".
        rows: B.
        reason: why the step is not taken in C++.
    """

    def __init__(
        self, stack: Stack, activations: Sequence[str], loss: str, rows: int, reason: str
    ) -> None:
        self.stack, self.loss = stack, loss
        self.how = f"torch's batched products ({reason})"
        self.phi = [in_place(name) for name in activations]
        biases = stack.parameters[1::2]
        self.z = [b.new_empty(len(b), rows, b.shape[1]) for b in biases]
        self.a = [
            torch.empty_like(z) if ACTIVATIONS[name].reads == "z" else z
            for z, name in zip(self.z, activations, strict=True)
        ]
        self.delta = [torch.empty_like(z) for z in self.z]

    def _run(self, x: Tensor) -> Tensor:
        layers = zip(self.stack.parameters[::2], self.stack.parameters[1::2], strict=True)
        a = x
        for k, (weight, bias) in enumerate(layers):
            torch.baddbmm(bias.unsqueeze(1), a, weight.mT, out=self.z[k])
            self.phi[k].value(self.z[k], self.a[k])
            a = self.a[k]
        return a

    def take(
        self,
        x: Tensor,
        target: Tensor,
        descents: Sequence[SGDUpdate],
        frozen: Tensor,
        losses: Tensor,
    ) -> None:
        """Run the layers, scan the deltas, descend.

        Args:
            x: (N, B, I).
            target: (N, B), or (N, B, O) of the last layer.
            descents: of W_1, b_1, ..., W_L, b_L; a coefficient is a number, or (N,).
            frozen: (N,), whether a network stays as it is; those whose loss is not finite join.
            losses: (N,), becomes the losses before the step; those of the frozen stay.
        """
        output = self._run(x)
        found = sample_losses(output, target, self.loss).mean(1).to(output.dtype)
        losses.copy_(torch.where(frozen, losses, found))
        frozen |= ~losses.isfinite()
        # No product reaches from one network to another: those that are frozen are stepped like
        # the others, and put back.
        kept = frozen.nonzero().squeeze(1)
        before = [(tensor, tensor[kept]) for tensor in self.stack.tensors] if len(kept) else []
        self._scan(output, target)
        self._descend(x, descents)
        for tensor, values in before:
            tensor[kept] = values

    def _scan(self, output: Tensor, target: Tensor) -> None:
        self.delta[-1].copy_(loss_delta(output, target, self.loss))
        weights = self.stack.parameters[::2]
        for k in reversed(range(len(weights))):
            if k < len(weights) - 1:
                torch.bmm(self.delta[k + 1], weights[k + 1], out=self.delta[k])
            self.phi[k].pull_back(self.delta[k], self.z[k], self.a[k])

    def _descend(self, x: Tensor, descents: Sequence[SGDUpdate]) -> None:
        pairs = zip(self.stack.parameters, self.stack.velocities, descents, strict=True)
        below = [x, *self.a[:-1]]
        for k, (value, into, descent) in enumerate(pairs):
            _update(value, into, descent, self.delta[k // 2], None if k % 2 else below[k // 2])


def _update(
    value: Tensor, into: Tensor, descent: SGDUpdate, delta: Tensor, x: Tensor | None
) -> None:
    """One parameter's step, as `SGDUpdate` says it; for a bias there is no x, which is 1."""

    def each(number: float | Tensor) -> float | Tensor:
        if isinstance(number, Tensor):
            return number.to(value).view(-1, *[1] * (value.ndim - 1))
        return number

    if _is_any(descent.ahead):
        value += each(descent.ahead) * into
    if descent.decay:
        into *= each(descent.fade)
        into += descent.decay * value
    alpha = descent.alpha
    if isinstance(alpha, Tensor):
        delta, alpha = delta * alpha.to(delta).view(-1, 1, 1), 1.0
    if x is None:
        into.mul_(descent.beta).add_(delta.sum(1), alpha=alpha)
    else:
        into.baddbmm_(delta.mT, x, beta=descent.beta, alpha=alpha)
    if _is_any(descent.rate):
        value -= each(descent.rate) * into


def _is_any(number: float | Tensor) -> bool:
    return isinstance(number, Tensor) or number != 0
