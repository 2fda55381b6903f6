"""Batch the trials of plain MLPs into one Population."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from torchmlp._compat.torch_internals import gradient_hooks
from torchmlp.autograd.loss import mean_loss
from torchmlp.autograd.network import network_loss
from torchmlp.data.transforms import scale_pixels
from torchmlp.diagnosis.measure.scoring import Scoring
from torchmlp.diagnosis.record.record import Record, Trial
from torchmlp.diagnosis.remedies.catalogue import Change
from torchmlp.diagnosis.remedies.modified_run import NOT_APPLICABLE, ModifiedRun
from torchmlp.diagnosis.remedies.trial import attempt, steps_of, trial_of
from torchmlp.diagnosis.run.deadline import OutOfTimeError
from torchmlp.diagnosis.run.run import Batch, TrainingRun, TrainingStepRun
from torchmlp.diagnosis.run.snapshot import Snapshot
from torchmlp.engine.population import Population
from torchmlp.engine.state.structure import is_fusible
from torchmlp.kernels.losses import LOSSES

MOST_PARAMETERS = 2_000_000  # of a network: beyond, side by side is no faster and takes memory
SAME = 1e-4  # relative difference of gradients that rounding leaves of none
# What images go through before the first layer.
RESHAPING = {"flatten", "reshape", "view", "unflatten", "squeeze", "to", "float", "div"}
RESHAPING |= {"__truediv__"}
# What losses that are as stable as this package's are made of.
STABLE = {"cross_entropy", "log_softmax", "nll_loss", "binary_cross_entropy_with_logits"}
STABLE |= {"mse_loss", "squeeze", "reshape", "view", "flatten", "to", "float"}


def attempt_all(
    changes: Sequence[Change],
    run: TrainingRun,
    start: Snapshot,
    record: Record,
    samples: Batch,
    scoring: Scoring,
    steps: int,
) -> list[Trial | None]:
    """What `attempt` makes of each change, to rounding, in less time.

    Changes that leave a multilayer perceptron in plain descent, whatever modules it is made of,
    train side by side where they share batches, activation, loss and momentum. The others, and
    those that break, soon as a rule, are attempted one by one.
    """
    trials: dict[Change, Trial] = {}
    alike: dict[object, list[_Network]] = {}
    try:
        if _may_be_plain(run, record):
            for change in changes:
                start.restore()
                if network := _network_of(change, run, record, samples):
                    alike.setdefault(network.kind, []).append(network)
        for networks in alike.values():
            for network, losses in _trained(networks, steps_of(networks[0].change, steps)):
                score = network.changed.score(samples, scoring)
                trials[network.change] = trial_of(network.change, record, steps, losses, score)
    except (*NOT_APPLICABLE, OutOfTimeError):
        pass  # a batch that the first did not show: whoever it stops is attempted
    finally:
        start.restore()
    return [
        trials[change]
        if change in trials
        else attempt(change, run, start, record, samples, scoring, steps)
        for change in changes
    ]


@dataclass(frozen=True)
class _Network:
    """A changed run that is a multilayer perceptron's plain descent.

    Attributes:
        changed: the run.
        parameters: W_1, b_1, ..., W_L, b_L at its start.
        activation: of the hidden layers.
        loss: by this package's name.
        scale: the run's loss is so many times this package's.
        sgd: momentum, nesterov and weight_decay, of this package's loss.
    """

    changed: ModifiedRun
    parameters: list[Tensor]
    activation: str
    loss: str
    scale: float
    sgd: dict[str, Any]

    @property
    def change(self) -> Change:
        return self.changed.change

    @property
    def kind(self) -> object:
        """What it has to have in common with others to be trained beside them."""
        own = replace(
            self.change, name="", causes=(), lr_factor=1.0, lr=0.0, init=False, decay=False
        )
        return own, self.activation, self.loss, self.scale

    def batch(self, step: int) -> Batch:
        """Its batch, in rows."""
        x, target = self.changed.batch(step)
        return scale_pixels(x, self.parameters[0].dtype), _in_rows(target)

    def is_the_run(self) -> bool:
        """Whether its loss and gradients on the first batch are the run's."""
        weights, biases = self.parameters[::2], self.parameters[1::2]
        phi = [self.activation] * (len(weights) - 1) + ["identity"]
        own = self.scale * network_loss(*self.batch(0), weights, biases, phi, self.loss)
        theirs = self.changed.loss(self.changed.batch(0))
        return _is_same(theirs, own, list(self.changed.model.parameters()), self.parameters)


def _in_rows(target: Tensor) -> Tensor:
    return target.reshape(len(target), -1) if target.is_floating_point() else target


def _may_be_plain(run: TrainingRun, record: Record) -> bool:
    """Whether a change may leave a plain network: as far as is known before it is made."""
    parameters = list(run.model.parameters())
    design = record.design
    return (
        not isinstance(run, TrainingStepRun)
        and run.packing is None
        and design.error is None
        and design.dtype in ("float32", "float64")
        and not design.custom_backward
        and [p.ndim for p in parameters] == [2, 1] * len(record.layers)
        and sum(p.numel() for p in parameters) <= MOST_PARAMETERS
        and not any(hook for p in parameters for hook in gradient_hooks(p))
        and not run.optimizer.state
        and [set(group["params"]) for group in run.optimizer.param_groups] == [{*parameters}]
    )


def _network_of(
    change: Change, run: TrainingRun, record: Record, samples: Batch
) -> _Network | None:
    """The changed run as a plain network; None where it is none, or cannot be changed so."""
    try:
        changed = ModifiedRun(change, run, samples)
        group = changed.optimizer.param_groups[0]
        is_descent = type(changed.optimizer) is SGD and is_fusible(changed.optimizer)
        is_descent = is_descent and not (group["dampening"] or group["maximize"])
        is_stable = changed.has_own_loss or STABLE.issuperset(record.design.output_ops)
        activation = _activation(changed)
        parameters = [p.detach().clone().requires_grad_() for p in run.model.parameters()]
        found = _loss(changed, samples, parameters[-1])
        if not (changed.is_possible and is_descent and is_stable and activation and found):
            return None
        loss, scale = found
        sgd = {"momentum": float(group["momentum"]), "nesterov": group["nesterov"]}
        sgd["weight_decay"] = group["weight_decay"] / scale
        network = _Network(changed, parameters, activation, loss, scale, sgd)
        return network if network.is_the_run() else None
    except NOT_APPLICABLE:
        return None


def _activation(changed: ModifiedRun) -> str | None:
    """The hidden layers'; None where they have several, or something else between them."""
    hidden = changed.layers[:-1]
    names = {changed.change.activation or traced.name for traced in hidden} or {"identity"}
    is_plain = len(names) == 1 and RESHAPING.issuperset(changed.before)
    for traced in hidden:
        options = traced.activation.options.values() if traced.activation else ()
        # Numbers would be a slope or an edge of its own.
        is_plain = is_plain and all(isinstance(option, bool) for option in options)
        is_plain = (
            is_plain and [call.name for call in traced.after] == [traced.name] * traced.is_nonlinear
        )
    return names.pop() if is_plain else None


def _loss(changed: ModifiedRun, samples: Batch, bias: Tensor) -> tuple[str, float] | None:
    """Name and scale of the run's loss: outputs at random, for all classes, tell it."""
    _, target = changed.data(samples)
    if changed.has_own_loss and target.is_floating_point():
        return None  # each batch's numbers decide for themselves whether they are classes
    shape = len(target), len(bias)
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(bias).requires_grad_()
    value = changed.loss_of(z, target)
    for loss in LOSSES:
        try:
            own = mean_loss(z, _in_rows(target), loss)
        except (ValueError, TypeError):
            continue  # not of such targets
        for scale in (1.0, 1 / len(bias), 2 / len(bias)):  # a sum of outputs, a mean, without ½
            if _is_same(value, scale * own, [z], [z]):
                return loss, scale
    return None


def _is_same(a: Tensor, b: Tensor, of: Sequence[Tensor], by: Sequence[Tensor]) -> bool:
    """Whether two losses are, and a's gradients by some parameters and b's by others."""
    gradients = [
        torch.autograd.grad(loss, parameters, retain_graph=True)
        for loss, parameters in ((a, of), (b, by))
    ]
    return math.isclose(a.item(), b.item(), rel_tol=SAME) and all(
        float((one - other).norm()) <= SAME * float(one.norm())
        for one, other in zip(*gradients, strict=True)
    )


def _trained(networks: list[_Network], steps: int) -> Iterator[tuple[_Network, list[float]]]:
    """Each network with its losses, while the model has its last weights.

    One that broke is left out: where exactly, is the run's own arithmetic to say.
    """
    first = networks[0]
    like = first.parameters[0]
    rates = [float(network.changed.rates[0]) * network.scale for network in networks]
    population = Population(
        like.shape[1],
        [len(bias) for bias in first.parameters[1:-1:2]],
        len(first.parameters[-1]),
        size=len(networks),
        activation=first.activation,
        init="constant(0)",
        loss=first.loss,
        lr=rates,
        device=like.device,
        dtype=like.dtype,
        **first.sgd,
    )
    stacks = [p for layer in zip(population.weights, population.biases, strict=True) for p in layer]
    for stack, values in zip(
        stacks, zip(*(n.parameters for n in networks), strict=True), strict=True
    ):
        stack.copy_(torch.stack(values).detach())
    steps_losses = []
    for step in range(steps):
        first.changed.run.deadline.check()
        if any(network.changed.has_schedule for network in networks):
            shares = [network.changed.share(step, steps) for network in networks]
            population.lr = [rate * share for rate, share in zip(rates, shares, strict=True)]
        steps_losses.append(population.step(*first.batch(step)))
        if bool(population.frozen.all()):
            break
    every = (first.scale * torch.stack(steps_losses, 1).double()).tolist()
    for k, (network, losses) in enumerate(zip(networks, every, strict=True)):
        if all(map(math.isfinite, losses)) and all(bool(s[k].isfinite().all()) for s in stacks):
            for parameter, stack in zip(network.changed.model.parameters(), stacks, strict=True):
                parameter.data = stack[k]
            yield network, losses
