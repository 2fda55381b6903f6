"""Whether a network is set to be trained: its parameters, the optimizer's, and its mode."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchmlp.diagnosis.record.record import Trainability
from torchmlp.diagnosis.trace.layers import TracedLayer
from torchmlp.diagnosis.trace.trace import Trace

DROPOUTS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
)
FUNCTIONS = ("dropout", "alpha_dropout", "feature_alpha_dropout")
KINDS: dict[type, str] = {list: "list", tuple: "list", dict: "dict"}
MATRIX = 2  # axes, from which a parameter is more than a bias or a scale
DEEPEST = 4  # containers within containers that are looked into


def measure_trainability(
    model: nn.Module,
    optimizer: Optimizer,
    trace: Trace,
    layers: list[TracedLayer],
    loss: Tensor,
) -> Trainability:
    """Which parameters are frozen, not the optimizer's, not the model's, or cut off from the loss.

    Args:
        model: whose parameters are to be trained.
        optimizer: that is to train them.
        trace: of a pass.
        layers: of the same pass.
        loss: its end, with its graph, which is kept.
    """
    own = dict(model.named_parameters())
    foreign = [p for p in trace.foreign.values() if p.requires_grad]
    asked = [p for p in own.values() if p.requires_grad] + foreign
    gradients: tuple[Tensor | None, ...] = (None,) * len(asked)
    if loss.requires_grad and asked:
        gradients = torch.autograd.grad(loss, asked, retain_graph=True, allow_unused=True)
    reached = {id(p) for p, g in zip(asked, gradients, strict=True) if g is not None}
    held = {id(p): p for group in optimizer.param_groups for p in group["params"]}
    lost = [p for p in foreign if id(p) in reached and id(p) not in held]
    not_held = [n for n, p in own.items() if id(p) in reached and id(p) not in held]
    stale = [p for k, p in held.items() if k not in {id(p) for p in own.values()}]
    trained = [p for p in [*own.values(), *foreign] if id(p) in reached and id(p) in held]
    homes = [_home(model, p) for p in lost]
    containers = {home[0] for home in homes if home}
    container = containers.pop() if len(containers) == 1 and all(homes) else ("", "")
    by_layer = [own[traced.call.weight] for traced in layers]
    return Trainability(
        layers=len(layers),
        frozen=[name for name, p in own.items() if not p.requires_grad],
        not_held=not_held,
        replaced=_are_of_same_shapes((own[name] for name in not_held), stale),
        unregistered=[
            home[1] if home else f"a parameter of shape {tuple(p.shape)}"
            for home, p in zip(homes, lost, strict=True)
        ],
        container=container[0],
        container_kind=container[1],
        unreached=[
            k for k, p in enumerate(by_layer, 1) if p.requires_grad and id(p) not in reached
        ],
        trained=len(trained),
        matrices_trained=sum(p.ndim >= MATRIX for p in trained),
        has_graph=loss.requires_grad and bool(reached),
    )


def _are_of_same_shapes(missing: Iterable[Tensor], held: Iterable[Tensor]) -> bool:
    """Whether each missing parameter has one of its shape among those held in its place."""
    shapes = [p.shape for p in held]
    wanted = [p.shape for p in missing]
    return bool(wanted) and all(wanted.count(shape) <= shapes.count(shape) for shape in wanted)


Home = tuple[tuple[str, str], str]  # (attribute, "list" or "dict"), where in it


def _home(model: nn.Module, parameter: nn.Parameter) -> Home | None:
    """Where a parameter that is not the model's is kept in it; None where it is not."""
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_"):
                continue
            at = f"{prefix}.{name}" if prefix else name
            for place, found in _within(value, at, DEEPEST):
                if found is parameter:
                    plain = type(value) in KINDS and all(
                        isinstance(item, nn.Module)
                        for item in (value.values() if isinstance(value, dict) else value)
                    )
                    return (at, KINDS[type(value)] if plain else ""), place
    return None


def _within(value: Any, at: str, depth: int) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters in a value: a module's, or those of a container's items."""
    if isinstance(value, nn.Parameter):
        yield at, value
    elif isinstance(value, nn.Module):
        yield from ((f"{at}.{name}", p) for name, p in value.named_parameters())
    elif isinstance(value, dict) and depth:
        for key, item in value.items():
            yield from _within(item, f"{at}[{key!r}]", depth - 1)
    elif isinstance(value, list | tuple) and depth:
        for k, item in enumerate(value):
            yield from _within(item, f"{at}[{k}]", depth - 1)


def evaluating(model: nn.Module, trace: Trace) -> list[str]:
    """The modules, and functions in forward, that a model wholly in evaluation mode changes.

    One that is in evaluation within a model that is not is so on purpose: frozen statistics.
    """
    if any(module.training for module in model.modules()):
        return []
    names = [
        f"{name or 'the model'} ({type(module).__name__})"
        for name, module in model.named_modules()
        if _is_changed(module)
    ]
    by_hand = [
        call.name
        for call in trace.calls
        if call.name in FUNCTIONS
        if call.options.get("training") is False and call.options.get("p", 0.5)
    ]
    of_modules = sum(isinstance(module, DROPOUTS) for module in model.modules())
    return names + [f"{name} in forward" for name in by_hand[of_modules:]]


def _is_changed(module: nn.Module) -> bool:
    if isinstance(module, DROPOUTS):
        return bool(module.p > 0)
    share = getattr(module, "dropout", 0.0)  # of attention, and between recurrent layers
    has_statistics = getattr(module, "track_running_stats", False) is True
    return has_statistics or (isinstance(share, float) and share > 0)
