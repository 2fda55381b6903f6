"""The step of many networks in torch's batched products: `torchmlp.kernels.network`, one axis more.

Every activation, loss, dtype and device. N networks, B rows; I and O are a layer's fan-in and
fan-out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchmlp.engine.population.parameters import Stack
from torchmlp.engine.state.sgd_update import SGDUpdate
from torchmlp.engine.state.updates import Rule
from torchmlp.engine.steps.inplace_activations import in_place
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.losses import loss_delta, sample_losses
from torchmlp.kernels.optimizers import Elementwise


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
        rules: Sequence[Rule],
        frozen: Tensor,
        losses: Tensor,
    ) -> None:
        """Run the layers, scan the deltas, descend.

        Args:
            x: (N, B, I).
            target: (N, B), or (N, B, O) of the last layer.
            rules: of W_1, b_1, ..., W_L, b_L; a coefficient is a number, or (N,).
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
        self._descend(x, rules)
        for tensor, values in before:
            tensor[kept] = values

    def _scan(self, output: Tensor, target: Tensor) -> None:
        self.delta[-1].copy_(loss_delta(output, target, self.loss))
        weights = self.stack.parameters[::2]
        for k in reversed(range(len(weights))):
            if k < len(weights) - 1:
                torch.bmm(self.delta[k + 1], weights[k + 1], out=self.delta[k])
            self.phi[k].pull_back(self.delta[k], self.z[k], self.a[k])

    def _descend(self, x: Tensor, rules: Sequence[Rule]) -> None:
        rows = max(self.delta[0].shape[1], 1)
        below = [x, *self.a[:-1]]
        for k, rule in enumerate(rules):
            value, kept = self.stack.parameters[k], self.stack.kept[k]
            delta, of = self.delta[k // 2], None if k % 2 else below[k // 2]
            if isinstance(rule, SGDUpdate):
                into = value if kept[-1] is None else kept[-1]
                _update(value, into, rule._replace(alpha=rule.alpha / rows), delta, of)
            else:
                gradient = (delta / rows).sum(1) if of is None else torch.bmm(delta.mT, of) / rows
                _update_elementwise(value, kept, rule, gradient)


def _each(number: Any, like: Tensor) -> Any:
    """A coefficient beside a parameter: a number, or one for each network."""
    if isinstance(number, np.ndarray):
        return torch.from_numpy(number).to(like).view(-1, *[1] * (like.ndim - 1))
    return number


def _update(value: Tensor, into: Tensor, rule: SGDUpdate, delta: Tensor, x: Tensor | None) -> None:
    """One parameter's step, as `SGDUpdate` says it; for a bias there is no x, which is 1."""
    if _is_any(rule.ahead):
        value += _each(rule.ahead, value) * into
    if rule.decay:
        into *= _each(rule.fade, into)
        into += rule.decay * value
    alpha: Any = rule.alpha
    if isinstance(alpha, np.ndarray):
        delta, alpha = delta * _each(alpha, delta), 1.0
    if x is None:
        into.mul_(rule.beta).add_(delta.sum(1), alpha=alpha)
    else:
        into.baddbmm_(delta.mT, x, beta=rule.beta, alpha=alpha)
    if _is_any(rule.rate):
        value -= _each(rule.rate, value) * into


def _update_elementwise(
    value: Tensor, kept: Sequence[Tensor | None], rule: Elementwise, gradient: Tensor
) -> None:
    """One parameter's step, as `kernels.optimizers` says it."""
    c = Elementwise(*(_each(number, value) for number in rule))
    mean, square, largest, velocity = kept
    value *= c.shrink
    g = c.sign * gradient + c.decay * value
    h = c.from_gradient * g
    if mean is not None:
        mean += c.mean_share * (g - mean)
        h = h + c.from_mean * mean
    if square is not None:
        square.mul_(c.square_keep).add_(c.square_share * g * g)
        root = square
        if largest is not None:
            root = torch.maximum(largest, square, out=largest)
        if mean is not None and rule.centred:
            root = root - mean * mean
        h = h / (c.root_scale * root.sqrt() + c.epsilon)
    change = c.from_direction * h
    if velocity is not None:
        velocity.mul_(c.velocity_keep).add_(c.velocity_share * h)
        change = change + c.from_velocity * velocity
    value -= change


def _is_any(number: Any) -> bool:
    return isinstance(number, np.ndarray) or number != 0
