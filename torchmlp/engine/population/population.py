"""Many networks of one shape, trained as one."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from torchmlp.autograd.dense import check_dense
from torchmlp.engine.population.native_step import NativeSteps
from torchmlp.engine.population.parameters import Stack
from torchmlp.engine.population.torch_step import BatchedStep
from torchmlp.engine.state.addresses import borrow_batch, check_tensors, fixed, storages
from torchmlp.engine.state.sgd_update import sgd_update
from torchmlp.engine.state.updates import Rule, as_number
from torchmlp.engine.steps import build
from torchmlp.engine.steps.native_step import threads, unsupported_natively
from torchmlp.kernels.activations import activate
from torchmlp.kernels.losses import LOSSES, check_target
from torchmlp.kernels.names import find
from torchmlp.kernels.optimizers import OPTIMIZERS, OptimizerRule
from torchmlp.kernels.parametrization import rate_factors
from torchmlp.nn.mlp import MLP

BATCH_SIZES = 8  # whose buffers are kept
Rates = float | int | Sequence[float] | Tensor


class Population:
    """Networks of one shape that train side by side, each by itself, in one call a step.

    Their weights become what separate trainings would make of them. The learning rate is each
    network's own. A network whose loss is nan or infinite is frozen before the step that would
    follow from it, and disturbs nobody.

    On a CPU the step is C++ where that can be had (float32 and float64): threads take one network
    after another through the engine's own step. Else all networks go through torch's batched
    products together.

    Args:
        in_features: size of the input's last axis.
        hidden: widths of the hidden layers; a number for one layer.
        out_features: size of the output's last axis; the last layer has no activation.
        size: number of networks N.
        activation: of every hidden layer.
        init: initial weights by name, as `MLP` takes them.
        loss: "cross_entropy", "mse" or "bce".
        lr: learning rate η, a number or one for each network. `lr` may be set again at any time.
        momentum: of torch.optim.SGD or RMSprop.
        nesterov: whether SGD's step looks ahead.
        weight_decay: λ; None for the optimizer's default.
        seeds: of each network's initial weights, those of an MLP made after
            torch.manual_seed(seed); None draws one after the other from torch's generator.
        device: where the parameters live.
        dtype: a floating dtype.
        parametrization: "standard" or "mup", whose rates are `lr` times a factor for each
            parameter; see `torchmlp.kernels.parametrization`.
        base_width: as `MLP` takes it.
        optimizer: "sgd", "adam", "adamw", "rmsprop" or "adagrad", each as torch.optim's.
        settings: more of the optimizer's settings, by torch.optim's names: betas, eps, amsgrad ...

    Attributes:
        weights: (N, fan_out, fan_in) of each layer, live.
        biases: (N, fan_out) of each layer, live.

    Raises:
        ValueError: a size below 1, rates or seeds of another number, a rate or momentum below 0 or
            not finite, a setting that the optimizer has not; what `MLP` raises.

    Example:
        >>> rates = [0.01, 0.1, 1.0, 1e4]
        >>> population = Population(2, 16, 2, size=4, lr=rates, seeds=[0, 0, 0, 0])
        >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> for _ in range(100):
        ...     losses = population.step(x, (x[:, 0] > 0).long())
        >>> int(losses.nan_to_num(9.0).argmin())
        2
        >>> population.network(2)(x).shape
        torch.Size([64, 2])
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int] | int,
        out_features: int,
        *,
        size: int,
        activation: str = "relu",
        init: str = "auto",
        loss: str = "cross_entropy",
        lr: Rates,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        seeds: Sequence[int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        parametrization: str = "standard",
        base_width: int = 64,
        optimizer: str = "sgd",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        find("loss", loss, LOSSES)
        if size < 1:
            raise ValueError(f"Population: expected a size of at least 1, got {size}")
        if seeds is not None and len(seeds) != size:
            raise ValueError(
                f"Population: expected one seed for each of the {size} networks, got {len(seeds)}"
            )
        for name, number in (("momentum", momentum), ("weight_decay", weight_decay)):
            if number is not None and not (number >= 0 and math.isfinite(number)):
                raise ValueError(f"Population: expected {name} of at least 0, got {number}")
        if nesterov and not momentum:
            raise ValueError("Population: nesterov looks ahead by momentum, expected one above 0")
        self.size, self.loss = size, loss
        given = {"momentum": momentum or None, "nesterov": nesterov or None}
        given["weight_decay"] = weight_decay
        named = {name: value for name, value in given.items() if value is not None}
        self._rule, self._settings = _rule_and_settings(optimizer, {**named, **(settings or {})})
        self._made = partial(
            MLP,
            in_features,
            hidden,
            out_features,
            activation,
            init=init,
            device=device,
            dtype=dtype,
            parametrization=parametrization,
            base_width=base_width,
        )
        self._first = self._drawn(seeds, 0)
        self._stack = Stack(self._first, size, self._rule.kept(self._settings))
        self._counts = np.zeros(size)  # steps of each network, since it was loaded
        mask = torch.empty(0, dtype=torch.bool, device=self.weights[0].device)
        self._frozen = fixed(mask, size).zero_()
        self._losses = self.weights[0].new_zeros(size)
        for i in range(size):
            self.load(i, self._drawn(seeds, i) if i else self._first)
        self._settle()
        self.lr = lr

    def _settle(self) -> None:
        """Make ready for a first step."""
        for own, value in zip(parameters_of(self._first), self._stack.parameters, strict=True):
            own.data = value[0]  # the engine's buffers are made for it
        self._lock = RLock()
        self._steps: dict[Any, BatchedStep | NativeSteps] = {}
        self._last: BatchedStep | NativeSteps | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: no buffers."""
        return {**self.__dict__, "_lock": None, "_steps": {}, "_last": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Give the copy memory of its own."""
        self.__dict__.update(state)
        values = self._stack.tensors
        self._stack = Stack(self._first, self.size, self._rule.kept(self._settings))
        for own, value in zip(self._stack.tensors, values, strict=True):
            own.copy_(value)
        self._frozen = fixed(self._frozen, self.size).copy_(self._frozen)
        self._settle()

    def _drawn(self, seeds: Sequence[int] | None, i: int) -> MLP:
        if seeds is None:
            return self._made()
        with torch.random.fork_rng():
            torch.manual_seed(seeds[i])
            return self._made()

    @property
    def weights(self) -> list[Tensor]:
        """Of each layer, first to last: (N, fan_out, fan_in)."""
        return [p.detach() for p in self._stack.parameters[::2]]

    @property
    def biases(self) -> list[Tensor]:
        """Of each layer, first to last: (N, fan_out)."""
        return [p.detach() for p in self._stack.parameters[1::2]]

    @property
    def frozen(self) -> Tensor:
        """Whether each network stays as it is, (N,), live; set where a loss has not been finite."""
        return self._frozen.detach()

    @frozen.setter
    def frozen(self, mask: Tensor) -> None:
        if mask.shape != (self.size,) or mask.dtype != torch.bool:
            raise ValueError(
                f"Population: expected frozen of shape ({self.size},) and dtype torch.bool, got "
                f"{tuple(mask.shape)} and {mask.dtype}"
            )
        self._frozen.copy_(mask)

    @property
    def how(self) -> str:
        """How the last step was taken, and why not in C++ where it was not."""
        return self._last.how if self._last else "no step taken yet"

    @property
    def is_native(self) -> bool:
        """Whether the last step was taken in C++."""
        return isinstance(self._last, NativeSteps)

    @property
    def lr(self) -> Tensor:
        """The learning rates, (N,), float64."""
        return self._lr.clone()

    @lr.setter
    def lr(self, rates: Rates) -> None:
        found = torch.as_tensor(rates, dtype=torch.float64)
        if found.ndim and found.shape != (self.size,):
            raise ValueError(
                f"Population: expected a learning rate, or one for each of the {self.size} "
                f"networks, got shape {tuple(found.shape)}"
            )
        wrong = found[~(found.isfinite() & (found >= 0))]
        if wrong.numel():
            raise ValueError(
                f"Population: expected learning rates of at least 0, got {wrong.flatten()[0]:g}"
            )
        self._lr = found.expand(self.size).clone()
        self._rules: list[Rule] = []

    def step(self, x: Tensor, target: Tensor) -> Tensor:
        """One training step of every network; the losses before it.

        Args:
            x: (B, in_features), the same for all, or (N, B, in_features), in the parameters' dtype
                or uint8 pixels, which are scaled to 0..1.
            target: as `mean_loss` takes it for one network, (B,) or (B, out_features), or with N
                in front.

        Returns:
            The mean losses, (N,); of a frozen network the one it was frozen at.

        Raises:
            ValueError: shapes that do not fit, a label that is no class. Nothing has been changed
                then.
            TypeError: dtypes that do not fit.
        """
        check_tensors(x, target, "Population.step")
        batch = (x.shape, x.dtype, x.device, target.shape, target.dtype, target.device)
        key = (*batch, threads())
        rows = x.shape[-2] if x.ndim > 1 else 0
        with self._lock:
            if (step := self._steps.get(key)) is None:
                self._check(x, target)
                step = self._steps[key] = self._bind(rows, target)
            if not self._rules or self._rule.counts:
                self._rules = self._next_rules()
            step.take(*self._each(x, target), self._rules, self._frozen, self._losses)
            self._counts += 1
            self._last = step
            return self._losses.clone()

    def _check(self, x: Tensor, target: Tensor) -> None:
        """Compare a batch with the networks."""
        shape, first = x.shape, self._first
        if x.ndim not in (2, 3) or (x.ndim == 3 and len(x) != self.size):  # noqa: PLR2004  axes
            raise ValueError(
                f"Population.step: expected input of shape (batch, {first.in_features}) or "
                f"({self.size}, batch, {first.in_features}), got {tuple(shape)}"
            )
        like = x.new_empty(0, dtype=first.weights[0].dtype) if x.dtype == torch.uint8 else x
        check_dense(
            shape[-2:],
            like,
            first.weights[0],
            first.biases[0],
            first.activations[0],
            "Population.step",
        )
        own = target[0] if len(target) == self.size and self._is_own(target) else target
        check_target(torch.Size((shape[-2], first.out_features)), own, self.loss)
        if not target.device == x.device == first.weights[0].device:
            raise ValueError(
                f"Population.step: expected one device, got networks on {first.weights[0].device}, "
                f"input on {x.device} and target on {target.device}; move them with .to(device)"
            )

    def _is_own(self, target: Tensor) -> bool:
        """Whether a target is one for each network."""
        return target.ndim == (3 if target.is_floating_point() else 2)

    def _each(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Every network's batch, (N, B, ...): its own, or the one that all share, expanded."""
        if x.dtype == torch.uint8:
            x = x / torch.tensor(255, dtype=self.weights[0].dtype, device=x.device)
        written = storages((*self._stack.tensors, self._frozen, self._losses))
        x, target = borrow_batch(x, target, "Population.step", written)
        if x.ndim == 2:  # noqa: PLR2004  (B, I)
            x = x.expand(self.size, *x.shape)
        if not self._is_own(target):
            target = target.expand(self.size, *target.shape)
        return x, target

    def _bind(self, rows: int, target: Tensor) -> BatchedStep | NativeSteps:
        if len(self._steps) >= BATCH_SIZES:
            self._steps.clear()
        reason = unsupported_natively(parameters_of(self._first), rows)
        try:
            if not reason:
                return NativeSteps(
                    *(build.load(), self._stack, self._first, self.loss, rows),
                    has_labels=not target.is_floating_point(),
                    merged=not self._rule.counts,
                )
        except build.NoNativeStepError as error:
            reason = str(error)
        return BatchedStep(self._stack, self._first.activations, self.loss, rows, reason)

    def _next_rules(self) -> list[Rule]:
        rule, lr = self._rule, self._lr.double().cpu().numpy()
        found: dict[float, Rule] = {}
        factors = [
            factor
            for growth in self._first.growths
            for factor in rate_factors(growth, follows_gradient=rule.follows_gradient)
        ]
        for factor in factors:
            if factor in found:
                continue
            settings = {**self._settings, "lr": lr * factor}
            if rule.counts:
                assert rule.coefficients is not None
                found[factor] = rule.coefficients(settings, self._counts + 1)
            else:
                # A velocity that is 0 is one that has not begun.
                found[factor] = sgd_update(**{**settings, "dampening": 0.0, "maximize": False})
        return [found[factor] for factor in factors]

    @torch.no_grad()
    def outputs(self, x: Tensor) -> Tensor:
        """Every network's outputs, (N, B, out_features); x as `step` takes it."""
        a, _ = self._each(x, x)
        for weight, bias, activation in zip(
            self.weights, self.biases, self._first.activations, strict=True
        ):
            a = activate(torch.baddbmm(bias.unsqueeze(1), a, weight.mT), activation)
        return a

    def network(self, i: int) -> MLP:
        """A copy of network i, 0 <= i < N."""
        network = self._made()
        with torch.no_grad():
            for own, value in zip(parameters_of(network), self._stack.parameters, strict=True):
                own.copy_(value[i])
        return network

    def load(self, i: int, mlp: MLP) -> None:
        """Make a copy of the MLP network i, which starts anew.

        Raises:
            ValueError: an MLP of another shape, parametrization or with other activations.
        """
        own, given = (
            (
                m.in_features,
                *m.hidden,
                m.out_features,
                *m.activations,
                *map(type, m.biases),
                *m.growths,
            )
            for m in (self._first, mlp)
        )
        if own != given:
            raise ValueError(f"Population.load: expected {self._first}, got {mlp}")
        self._stack.put(i, [p.detach() for p in parameters_of(mlp)])
        self._frozen[i] = False
        self._counts[i] = 0


POPULATIONS_OPTIMIZERS = (
    *(torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop),
    torch.optim.Adagrad,
)
_BY_NAME = {kind.__name__.lower(): kind for kind in POPULATIONS_OPTIMIZERS}
# The rate is each network's own; SGD's damping at the first step is not told from later ones.
_FIXED = ("lr", "maximize", "decoupled_weight_decay", "dampening")


def settings_of(kind: type[Optimizer]) -> list[str]:
    """The settings of an optimizer that a population takes, but for the rate."""
    return [name for name in OPTIMIZERS[kind].settings if name not in _FIXED]


def _rule_and_settings(
    optimizer: str, given: Mapping[str, Any]
) -> tuple[OptimizerRule, dict[str, Any]]:
    """An optimizer's rule and its settings: torch.optim's defaults, and what is given."""
    kind: Any = find("optimizer", optimizer, _BY_NAME)
    rule, names = OPTIMIZERS[kind], settings_of(kind)
    for name in given:
        if name not in names:
            raise ValueError(
                f"Population: {optimizer} has no setting {name} here; expected {', '.join(names)}"
            )
    made = kind([torch.zeros(1)], **given)
    found = {name: as_number(made.defaults[name]) for name in rule.settings if name != "lr"}
    return rule, found


def parameters_of(mlp: MLP) -> list[Tensor]:
    """W_1, b_1, ..., W_L, b_L; those it has."""
    pairs = zip(mlp.weights, mlp.biases, strict=True)
    return [p for pair in pairs for p in pair if p is not None]
