"""What a step takes for granted of a model and its optimizer, and what keeps it from being taken.

The first is looked at before each step (`watch`), the second where it has changed.
"""

import inspect
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from torchmlp._compat.torch_internals import (
    GRADIENT_HOOKS,
    MODULE_HOOKS,
    gradient_hooks,
    hooks_of_all_modules,
    module_dicts,
    module_hooks,
    no_engine,
    optimizer_hooks,
)
from torchmlp.engine.state.addresses import unsupported_memory
from torchmlp.engine.state.changes import MISSING, Expectation, Kind
from torchmlp.kernels.losses import LOSSES
from torchmlp.kernels.names import find
from torchmlp.kernels.optimizers import OPTIMIZERS
from torchmlp.nn.dense import Dense
from torchmlp.nn.mlp import MLP

_FORWARD = (MLP.forward, Dense.forward)


def structure(model: MLP, optimizer: Optimizer) -> list[Expectation]:
    """Layers, activations, parameters, hooks and parameter groups, as they are now.

    What lies in memory and the optimizer's numbers are no part of it.
    """
    layers = model.layers
    children, _ = module_dicts(layers)
    found = [
        Expectation(Kind.ITEM, module_dicts(model)[0], "layers", layers),
        Expectation(Kind.LENGTH, children, number=len(layers)),
        *_of_dicts(*hooks_of_all_modules),
        *_of_module(model),
    ]
    for name, layer in children.items():
        assert layer is not None
        own, (_, parameters) = vars(layer), module_dicts(layer)
        found += [
            Expectation(Kind.ITEM, children, name, layer),
            Expectation(Kind.ITEM, own, "activation", own["activation"]),
            Expectation(Kind.ITEM, own, "_parameters", parameters),
            *_of_module(layer),
        ]
        for key, p in parameters.items():
            found.append(Expectation(Kind.ITEM, parameters, key, p))
            if p is not None:
                found += _of_parameter(p)
    return found + list(_of_optimizer(optimizer))


def _of_module(module: nn.Module) -> Iterator[Expectation]:
    own = vars(module)
    yield Expectation(Kind.ATTRIBUTE, module, "__class__", type(module))  # parametrizations set it
    yield Expectation(Kind.ITEM, own, "forward", own.get("forward", MISSING))
    for name in MODULE_HOOKS:
        yield Expectation(Kind.ITEM, own, name, own[name])
        yield from _of_dicts(own[name])


def _of_dicts(*hooks: dict[Any, Any]) -> Iterator[Expectation]:
    for dictionary in hooks:
        yield Expectation(Kind.LENGTH, dictionary, number=len(dictionary))


def _of_parameter(p: Tensor) -> Iterator[Expectation]:
    yield Expectation(Kind.ATTRIBUTE, p, "requires_grad", p.requires_grad)
    for name in GRADIENT_HOOKS:
        hooks = getattr(p, name)
        yield Expectation(Kind.ATTRIBUTE, p, name, hooks)
        if hooks is not None:
            yield from _of_dicts(hooks)


def _of_optimizer(optimizer: Optimizer) -> Iterator[Expectation]:
    own, groups = vars(optimizer), optimizer.param_groups
    yield Expectation(Kind.ATTRIBUTE, optimizer, "__class__", type(optimizer))
    yield Expectation(Kind.ITEM, own, "step", own.get("step", MISSING))
    yield from _of_dicts(*optimizer_hooks(optimizer))
    yield Expectation(Kind.ITEM, own, "param_groups", groups)
    yield Expectation(Kind.LENGTH, groups, number=len(groups))
    for index, group in enumerate(groups):
        members = group["params"]
        yield Expectation(Kind.ELEMENT, groups, value=group, number=index)
        yield Expectation(Kind.ITEM, group, "params", members)
        yield Expectation(Kind.LENGTH, members, number=len(members))
        for place, p in enumerate(members):
            yield Expectation(Kind.ELEMENT, members, value=p, number=place)


def is_fusible(optimizer: Optimizer) -> bool:
    """Whether a step of the optimizer is one of `kernels.optimizers`' rules and nothing else."""
    step = optimizer.__dict__.get("step")  # a scheduler puts one there that counts
    counts = step is None or hasattr(step, "_wrapped_by_lr_sched")
    hooks = (hook for hooks in optimizer_hooks(optimizer) for hook in hooks.values())
    # Those that only listen must not change what is computed.
    heard = all(getattr(hook, "only_listens", False) for hook in hooks)
    rule = OPTIMIZERS.get(type(optimizer))
    return rule is not None and rule.coefficients is not None and counts and heard


def unsupported_reason(
    model: nn.Module, loss: str | Callable[..., Any], optimizer: Optimizer
) -> str:
    """What keeps an `Engine` from training so; "" where nothing does.

    Raises:
        ValueError: a loss of an unknown name.
    """
    if isinstance(loss, str):
        find("loss", loss, LOSSES)
    return next(_reasons(model, loss, optimizer), "")


def _reasons(
    model: nn.Module, loss: str | Callable[..., Any], optimizer: Optimizer
) -> Iterator[str]:
    with_autograd = "; train with autograd"
    if lost := no_engine():
        yield f"{lost}{with_autograd}"
        return
    if type(model) is not MLP:
        yield f"expected a torchmlp.MLP, got {type(model).__name__}{with_autograd}"
        return  # nothing else is known of it
    if not isinstance(loss, str):
        yield f"expected a loss by name, got a function{with_autograd}"
    layers = list(model.layers)
    if not layers:
        yield "expected at least one layer, got none"
    for layer in layers:
        if type(layer) is not Dense:
            yield f"expected Dense layers, got {type(layer).__name__}{with_autograd}"
    hooks = [hook for module in (model, *layers) for hook in module_hooks(module)]
    if any(hooks) or any(hooks_of_all_modules):
        yield f"the model has hooks, which only autograd calls; remove them or{with_autograd[1:]}"
    has_own = any("forward" in module.__dict__ for module in (model, *layers))
    if has_own or (MLP.forward, Dense.forward) != _FORWARD:
        yield f"the model's forward was replaced by another{with_autograd}"
    yield from _reasons_of_parameters(model)
    yield from _reasons_of_optimizer(model, optimizer)


def _reasons_of_parameters(model: MLP) -> Iterator[str]:
    named = [(name, p) for name, p in model.named_parameters(remove_duplicate=False)]
    parameters = [p for _, p in named]
    if len(parameters) != len(set(parameters)):
        yield "layers share a parameter; train with autograd"
    if any(type(p) is not Parameter or p.layout != torch.strided for p in parameters):
        yield "expected plain parameters, got another kind of tensor; train with autograd"
    if any(hook for p in parameters for hook in gradient_hooks(p)):
        yield "a parameter has gradient hooks, which only autograd calls"
    if len({(p.dtype, p.device) for p in parameters}) > 1 or not parameters[0].is_floating_point():
        found = dict.fromkeys(f"{p.dtype} on {p.device}" for p in parameters)
        yield (
            "expected parameters of one floating dtype on one device, got "
            f"{' and '.join(found)}; convert them with model.to(...)"
        )
    if parameters[0].device.type not in ("cpu", "cuda"):
        yield f"expected a CPU or a CUDA device, got {parameters[0].device}; train with autograd"
    for name, p in named:
        if reason := unsupported_memory(p):
            yield f"{name} {reason}"
    yield from _reasons_of_shapes(model)


def _reasons_of_shapes(model: MLP) -> Iterator[str]:
    weights, biases = model.weights, model.biases
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if weight.ndim != 2:  # noqa: PLR2004  a matrix
            yield (
                f"layers.{k}: expected a weight of shape (out_features, in_features), got shape "
                f"{tuple(weight.shape)}"
            )
            return
        if bias is not None and bias.shape != weight.shape[:1]:
            yield (
                f"layers.{k}: expected a bias of shape ({len(weight)},) for a weight of shape "
                f"{tuple(weight.shape)}, got shape {tuple(bias.shape)}"
            )
    for k, (below, above) in enumerate(pairwise(weights), 1):
        if above.shape[1] != below.shape[0]:
            yield (
                f"layers.{k}: expected in_features={below.shape[0]}, as many as the layer below "
                f"has outputs, got a weight of shape {tuple(above.shape)}"
            )


def _reasons_of_optimizer(model: nn.Module, optimizer: Optimizer) -> Iterator[str]:
    name = type(optimizer).__name__
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        yield f"{name} evaluates the loss itself; train with autograd"
    if any(group.get("differentiable") for group in optimizer.param_groups):
        yield f"{name} is differentiable, and a step without autograd is not"
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held.isdisjoint(map(id, model.parameters())):
        yield (
            f"{name} holds none of the model's parameters: they are another model's, or were "
            f"replaced; make it anew, of model.parameters()"
        )
