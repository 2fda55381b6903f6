"""The steps of torch's optimizers as coefficients of one elementwise update.

With the gradient g of a parameter w, and of what an optimizer keeps of it the mean m, the mean of
squares s, its largest value, and the velocity v, a step is, in this order:

    w ← shrink · w                                     g ← sign · g + decay · w
    m ← m + mean_share · (g − m)                       s ← square_keep · s + square_share · g²
    d = root_scale · √(s − centred · m²) + epsilon     (of the largest s so far, with amsgrad)
    h = (from_gradient · g + from_mean · m) / d        (d is 1 where no s is kept)
    v ← velocity_keep · v + velocity_share · h
    w ← w − from_direction · h − from_velocity · v

The names of the settings and of the state are torch.optim's. A number of many networks may be an
array: the coefficients that it enters are arrays then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import optim
from torch.optim import Optimizer

Number = Any  # a float, or an array of them


class Elementwise(NamedTuple):
    """The coefficients of one parameter's step; those left out do nothing."""

    shrink: Number = 1.0
    sign: Number = 1.0
    decay: Number = 0.0
    mean_share: Number = 0.0
    square_keep: Number = 0.0
    square_share: Number = 0.0
    root_scale: Number = 1.0
    epsilon: Number = 0.0
    centred: Number = 0.0
    from_gradient: Number = 0.0
    from_mean: Number = 0.0
    velocity_keep: Number = 0.0
    velocity_share: Number = 0.0
    from_direction: Number = 1.0
    from_velocity: Number = 0.0


class Kept(NamedTuple):
    """The names, in an optimizer's state, of what it keeps of a parameter; "" for what it does not.

    Attributes:
        mean: m.
        square: s.
        largest: the largest s so far.
        velocity: v.
    """

    mean: str = ""
    square: str = ""
    largest: str = ""
    velocity: str = ""


@dataclass(frozen=True)
class OptimizerRule:
    """What a step has to know of one of torch's optimizers.

    Attributes:
        follows_gradient: whether its step is twice as long for twice the gradient, as SGD's is and
            Adam's is not; what parametrization="mup" asks.
        settings: the names, in a parameter group, of the numbers that a step reads.
        kept: (settings by name) -> what is kept of each parameter.
        coefficients: (settings by name, t) -> the t-th step's, t from 1; None where a step cannot
            be taken without the optimizer.
        counts: whether the state has a `step` for each parameter.
    """

    follows_gradient: bool
    settings: tuple[str, ...] = ()
    kept: Callable[[Mapping[str, Any]], Kept] = lambda _: Kept()
    coefficients: Callable[[Mapping[str, Any], Number], Elementwise] | None = None
    counts: bool = True


def _sign(group: Mapping[str, Any]) -> float:
    return -1.0 if group["maximize"] else 1.0


def _sgd(group: Mapping[str, Any], t: Number) -> Elementwise:
    """Sutskever et al. (2013), in the form of torch.optim.SGD's documentation."""
    lr, momentum, nesterov = group["lr"], group["momentum"], group["nesterov"]
    return Elementwise(
        sign=_sign(group),
        decay=group["weight_decay"],
        from_gradient=1.0,
        velocity_keep=momentum * (t != 1),
        velocity_share=1.0 - group["dampening"] * (t != 1),
        from_direction=lr if nesterov or not momentum else 0.0,
        from_velocity=lr * (momentum if nesterov else 1.0),
    )


def _adam(group: Mapping[str, Any], t: Number) -> Elementwise:
    """Kingma & Ba (2015), algorithm 1; with `decoupled_weight_decay` Loshchilov & Hutter (2019)."""
    lr, decay, (beta1, beta2) = group["lr"], group["weight_decay"], group["betas"]
    is_decoupled = group["decoupled_weight_decay"]
    return Elementwise(
        shrink=1.0 - lr * decay if is_decoupled else 1.0,
        sign=_sign(group),
        decay=0.0 if is_decoupled else decay,
        mean_share=1.0 - beta1,
        square_keep=beta2,
        square_share=1.0 - beta2,
        root_scale=(1.0 - beta2**t) ** -0.5,
        epsilon=group["eps"],
        from_mean=lr / (1.0 - beta1**t),
    )


def _nadam(group: Mapping[str, Any], t: Number) -> Elementwise:
    """Dozat (2016), in the form of torch.optim.NAdam's documentation."""
    own, following = (nadam_momentum(group, step) for step in (t, t + 1))
    known = group["mu_product"]  # rounded to its own dtype at every step
    product = float(known * type(known)(own))
    return _adam(group, t)._replace(
        from_gradient=group["lr"] * (1.0 - own) / (1.0 - product),
        from_mean=group["lr"] * following / (1.0 - product * following),
    )


def nadam_momentum(group: Mapping[str, Any], t: Number) -> Number:
    """μ_t of NAdam; its state holds, as `mu_product`, their product so far."""
    return group["betas"][0] * (1.0 - 0.5 * 0.96 ** (t * group["momentum_decay"]))


def _rmsprop(group: Mapping[str, Any], _: Number) -> Elementwise:
    """Hinton (2012), lecture 6e; centred as in Graves (2013)."""
    lr, alpha, momentum = group["lr"], group["alpha"], group["momentum"]
    return Elementwise(
        sign=_sign(group),
        decay=group["weight_decay"],
        mean_share=1.0 - alpha,
        square_keep=alpha,
        square_share=1.0 - alpha,
        epsilon=group["eps"],
        centred=1.0 if group["centered"] else 0.0,
        from_gradient=1.0,
        velocity_keep=momentum,
        velocity_share=1.0,
        from_direction=0.0 if momentum > 0 else lr,
        from_velocity=lr,
    )


def _adagrad(group: Mapping[str, Any], t: Number) -> Elementwise:
    """Duchi, Hazan & Singer (2011), with torch.optim.Adagrad's decay of the rate."""
    return Elementwise(
        sign=_sign(group),
        decay=group["weight_decay"],
        square_keep=1.0,
        square_share=1.0,
        epsilon=group["eps"],
        from_gradient=1.0,
        from_direction=group["lr"] / (1.0 + (t - 1.0) * group["lr_decay"]),
    )


_ADAM = OptimizerRule(
    follows_gradient=False,
    settings=(
        *("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize"),
        "decoupled_weight_decay",
    ),
    kept=lambda group: Kept(
        "exp_avg", "exp_avg_sq", "max_exp_avg_sq" if group["amsgrad"] else ""
    ),
    coefficients=_adam,
)  # fmt: skip

OPTIMIZERS: dict[type[Optimizer], OptimizerRule] = {
    optim.SGD: OptimizerRule(
        follows_gradient=True,
        settings=("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize"),
        kept=lambda group: Kept(velocity="momentum_buffer" if group["momentum"] else ""),
        coefficients=_sgd,
        counts=False,
    ),
    optim.Adam: _ADAM,
    optim.AdamW: _ADAM,
    optim.NAdam: OptimizerRule(
        follows_gradient=False,
        settings=(
            *("lr", "betas", "eps", "weight_decay", "momentum_decay", "maximize"),
            "decoupled_weight_decay",
        ),
        kept=lambda _: Kept("exp_avg", "exp_avg_sq"),
        coefficients=_nadam,
    ),
    optim.RMSprop: OptimizerRule(
        follows_gradient=False,
        settings=("lr", "alpha", "eps", "weight_decay", "momentum", "centered", "maximize"),
        kept=lambda group: Kept(
            "grad_avg" if group["centered"] else "",
            "square_avg",
            velocity="momentum_buffer" if group["momentum"] > 0 else "",
        ),
        coefficients=_rmsprop,
    ),
    optim.Adagrad: OptimizerRule(
        follows_gradient=False,
        settings=("lr", "lr_decay", "eps", "weight_decay", "maximize"),
        kept=lambda _: Kept(square="sum"),
        coefficients=_adagrad,
    ),
    optim.RAdam: OptimizerRule(follows_gradient=False),
    optim.Adamax: OptimizerRule(follows_gradient=False),
}


def rule_of(optimizer: Optimizer) -> OptimizerRule | None:
    """What is known of an optimizer of exactly one of torch's classes, or of one made of it."""
    kinds = type(optimizer).__mro__
    return next((OPTIMIZERS[kind] for kind in kinds if kind in OPTIMIZERS), None)
