"""The learning rates that a parametrization asks for, in an optimizer's parameter groups."""

from typing import Any, TypeVar

from torch import nn
from torch.optim import Optimizer

from torchmlp.kernels.optimizers import OPTIMIZERS, rule_of
from torchmlp.kernels.parametrization import rate_factors
from torchmlp.nn.mlp import MLP

Kind = TypeVar("Kind", bound=Optimizer)


def scale_rates(optimizer: Kind, model: nn.Module) -> Kind:
    """Give every parameter of a model's MLPs the learning rate of its layer, in place.

    A parameter group becomes one for each factor among its parameters, with lr = lr · factor and
    the factor as `rate_factor`; those of factor 1 come first. An optimizer of a model without an
    MLP under "mup" is left as it is.

    Args:
        optimizer: over the model's parameters; not yet stepped, no scheduler attached.
        model: an MLP, or a module that holds some.

    Returns:
        The optimizer itself.

    Raises:
        ValueError: an optimizer of which is not known whether its step grows with the gradient, one
            that has a scheduler, which would keep the old rates, or whose rates are scaled already.

    Example:
        >>> import torch
        >>> mlp = MLP(784, 512, 10, parametrization="mup", base_width=64)
        >>> optimizer = scale_rates(torch.optim.SGD(mlp.parameters(), lr=0.5), mlp)
        >>> [(len(group["params"]), group["lr"]) for group in optimizer.param_groups]
        [(1, 0.5), (2, 4.0), (1, 0.0625)]
    """
    scaled = [m for m in model.modules() if isinstance(m, MLP) and m.parametrization == "mup"]
    if not scaled:
        return optimizer
    factors = _factors(scaled, follows_gradient=_follows_gradient(optimizer))
    groups = optimizer.param_groups
    if any("rate_factor" in group for group in groups):
        raise ValueError("scale_rates: this optimizer's rates are scaled already; do it once")
    if any("initial_lr" in group for group in groups):
        raise ValueError(
            "scale_rates: expected an optimizer without a scheduler, which would go on with the "
            "rates it has seen; scale the rates first and make the scheduler then"
        )
    groups[:] = [part for group in groups for part in _parts(group, factors)]
    return optimizer


def _factors(mlps: list[MLP], *, follows_gradient: bool) -> dict[Any, float]:
    """The factor of each parameter."""
    factors: dict[Any, float] = {}
    for mlp in mlps:
        for weight, bias, growth in zip(mlp.weights, mlp.biases, mlp.growths, strict=True):
            factors[weight], factors[bias] = rate_factors(growth, follows_gradient=follows_gradient)
    return factors


def _parts(group: dict[str, Any], factors: dict[Any, float]) -> list[dict[str, Any]]:
    """The groups of equal factor that a group consists of, factor 1 first."""
    own = [factors.get(p, 1.0) for p in group["params"]]
    # Whoever shows one rate of an optimizer shows the first group's: the one that was asked for.
    order = sorted(dict.fromkeys(own), key=lambda factor: factor != 1.0)
    per_parameter = [name for name in ("params", "param_names") if name in group]
    return [
        {
            **group,
            **{
                name: [value for value, mine in zip(group[name], own, strict=True) if mine == f]
                for name in per_parameter
            },
            "lr": group["lr"] * f,
            "rate_factor": f,
        }
        for f in order
    ]


def _follows_gradient(optimizer: Optimizer) -> bool:
    if rule := rule_of(optimizer):
        return rule.follows_gradient
    known = ", ".join(kind.__name__ for kind in OPTIMIZERS)
    raise ValueError(
        f"scale_rates: parametrization=mup is known for {known}, got {type(optimizer).__name__}; "
        f"choose one of them, or parametrization=standard"
    )
