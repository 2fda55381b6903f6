"""The same network in plain torch modules, and back."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from torchmlp.autograd.dropout import check_dropout
from torchmlp.nn.dense import Dense

Linear = TypeVar("Linear", bound=nn.Linear)

MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "mish": nn.Mish,
    "hardtanh": nn.Hardtanh,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "softsign": nn.Softsign,
    "logsigmoid": nn.LogSigmoid,
    "identity": nn.Identity,
}


def to_sequential(layers: Sequence[Dense], dropout: float, input_dropout: float) -> nn.Sequential:
    """nn.Linear and activation modules with copies of the layers' weights.

    nn.Dropout stands where its rate is not zero; an identity activation leaves no module.
    """
    modules: list[nn.Module] = [nn.Dropout(input_dropout)] if input_dropout else []
    for layer in layers:
        modules.append(_copied(nn.Linear, layer))
        if layer.activation != "identity":
            modules.append(MODULES[layer.activation]())
        if dropout and layer is not layers[-1]:
            modules.append(nn.Dropout(dropout))
    return nn.Sequential(*modules)


def from_sequential(network: nn.Sequential) -> tuple[list[Dense], float, float]:
    """The layers, the hidden dropout and the input dropout of a plain network.

    Raises:
        ValueError: a module that has no place in an MLP, widths that do not follow each other, or
            dropout rates that differ; the message names the position.
    """
    layers: list[Dense] = []
    rates: dict[int, float] = {}  # dropout rate after so many layers
    for position, module in enumerate(network):
        where = f"from_sequential: module {position}, {module}"
        if type(module) is nn.Linear:
            layer = _copied(Dense, module)
            if layers and layers[-1].out_features != layer.in_features:
                raise ValueError(
                    f"{where}: expected in_features={layers[-1].out_features}, the width of the "
                    f"layer before it"
                )
            layers.append(layer)
        elif type(module) is nn.Dropout:
            if len(layers) in rates:
                raise ValueError(f"{where}: expected one nn.Dropout at a place, not two")
            check_dropout(module.p, where)
            rates[len(layers)] = module.p
        elif not layers or layers[-1].activation != "identity" or len(layers) in rates:
            raise ValueError(f"{where}: expected an nn.Linear or nn.Dropout here")
        else:
            layers[-1].activation = _name_of(module, where)
    if not layers:
        raise ValueError("from_sequential: expected at least one nn.Linear, got none")
    hidden = {rates.get(k, 0.0) for k in range(1, len(layers))}
    if len(layers) in rates or len(hidden) > 1:
        raise ValueError(
            f"from_sequential: expected one nn.Dropout rate after every hidden layer and none after"
            f" the last, got {rates} (layers before it: rate)"
        )
    return layers, hidden.pop() if hidden else 0.0, rates.get(0, 0.0)


def _copied(kind: type[Linear], source: nn.Linear) -> Linear:
    """A layer of `kind` with the weights of `source`; nothing is drawn from the generator."""
    has_bias = source.bias is not None
    # Not skip_init: its empty_like of a meta tensor imports sympy, which takes half a second.
    like = {"device": "meta", "dtype": source.weight.dtype}
    copy = kind(source.in_features, source.out_features, has_bias, **like)
    own = {
        name: value.clone(memory_format=torch.contiguous_format)
        for name, value in source.state_dict().items()
    }
    copy.load_state_dict(own, assign=True)
    for mine, theirs in zip(copy.parameters(), source.parameters(), strict=True):
        mine.requires_grad_(theirs.requires_grad)
    return copy.train(source.training)


def _name_of(module: nn.Module, where: str) -> str:
    """The name of the activation that `module` computes, settings included."""
    for name, make in MODULES.items():
        # With settings of its own it is another function than ours: LeakyReLU(0.2).
        if type(module) is type(make()) and _settings(module) == _settings(make()):
            return name
    known = ", ".join(str(make()) for make in MODULES.values())
    raise ValueError(f"{where}: expected nn.Linear, nn.Dropout or one of {known}")


def _settings(module: nn.Module) -> dict[str, Any]:
    # Values, not the printed form: Hardtanh(-1, 1) is Hardtanh(-1.0, 1.0).
    ours = {"training", "inplace"}
    return {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and key not in ours
    }
