"""Parameters that cannot be trained: frozen, not the optimizer's, or cut off from the loss."""

from collections.abc import Iterator

from torchmlp.diagnosis.record.record import Record, Trainability
from torchmlp.diagnosis.rules.causes import Finding

# With one of these for certain there is nothing to try: the network, as it is, cannot be trained.
UNTRAINABLE = ("frozen-parameters", "parameters-not-optimized", "no-gradient")
SHOWN = 4  # names in a sentence


def frozen_parameters(record: Record) -> Iterator[Finding]:
    """Weights that require no gradient; a mistake where no layer's weight is left to train."""
    found = record.trainability
    if found is None or not found.frozen:
        return
    weights = [layer for layer in record.layers if not layer.is_trained]
    is_rest_there = bool(found.not_held or found.unregistered)
    is_all = len(weights) == len(record.layers) or found.trained == 0
    whole = found.matrices_trained == 0 and is_all and not is_rest_there
    if not weights and not whole:
        return  # a bias, or the scale of a normalisation
    rest = "so that nothing trains" if not found.has_graph else "and only biases and scales train"
    said = rest if whole else "and stay as they are"
    yield Finding(
        "frozen-parameters",
        weights[0].index if len(weights) == 1 else None,
        "weight",
        0,
        {"frozen": float(len(found.frozen)), "layers trained": float(found.matrices_trained)},
        f"{_listed(found.frozen)} {_do(found.frozen)} not require a gradient "
        f"(requires_grad=False), {said}.",
        "Let them require a gradient, and give the optimizer all of them; leave those frozen that "
        "are so on purpose.",
        certain=whole,
        code=f"model.requires_grad_(True)\n{optimizer_code(record)}" if whole else "",
    )


def parameters_not_optimized(record: Record) -> Iterator[Finding]:
    """Parameters that get a gradient, and that no optimizer holds."""
    found = record.trainability
    if found is None:
        return
    if found.unregistered:
        yield _unregistered(record, found)
        return
    if not found.not_held:
        return
    none_trained = found.trained == 0
    instead = " It holds others of the same shapes, which are not the model's." * found.replaced
    yield Finding(
        "parameters-not-optimized",
        next((x.index for x in record.layers if found.not_held[0].startswith(x.name)), None),
        "weight",
        0,
        {"not held": float(len(found.not_held)), "weights trained": float(found.matrices_trained)},
        f"{_listed(found.not_held)} {_do(found.not_held)} get a gradient, and the optimizer "
        f"({record.design.optimizer}) does not hold {_them(found.not_held)}: "
        f"{'nothing of the model' if none_trained else 'the rest alone'} is trained.{instead}",
        "Make the optimizer of model.parameters(), after the model has its last layers and lies "
        "where it is trained.",
        certain=none_trained or found.replaced,
        code=optimizer_code(record) if none_trained or found.replaced else "",
    )


def _unregistered(record: Record, found: Trainability) -> Finding:
    names = found.unregistered
    kept = {
        "list": "nn.ModuleList",
        "dict": "nn.ModuleDict",
    }.get(found.container_kind, "")
    where = (
        f"model.{found.container} is a plain {found.container_kind}, in which a module does not "
        f"see its layers"
        if kept
        else "they are kept where a module does not see them, or made anew in forward"
    )
    remedy = (
        f"Make it an {kept}, before the optimizer is made of model.parameters()."
        if kept
        else "Make them attributes of the module in __init__ (nn.ModuleList for many), before the "
        "optimizer is made of model.parameters()."
    )
    code = (
        f"model.{found.container} = torch.{kept}(model.{found.container})\n{optimizer_code(record)}"
        if kept
        else ""
    )
    return Finding(
        "parameters-not-optimized",
        None,
        "weight",
        0,
        {"not registered": float(len(names)), "weights trained": float(found.matrices_trained)},
        f"The network computes with {_listed(names)}, which {_are(names)} no {_noun(names)} of the "
        f"model and {_do(names)} not train: {where}.",
        remedy,
        certain=True,
        code=code,
    )


def no_gradient(record: Record) -> Iterator[Finding]:
    """The graph is cut between a layer and the loss."""
    found = record.trainability
    if found is None or (found.frozen and found.matrices_trained == 0 and not found.unreached):
        return
    if not found.has_graph and not (found.not_held or found.unregistered):
        yield Finding(
            "no-gradient",
            None,
            "gradient",
            0,
            {"layers": float(found.layers)},
            "The loss has no graph: no parameter that requires a gradient leads to it, so that "
            "nothing trains.",
            "Look for torch.no_grad(), .detach(), .data, .numpy(), argmax, round or "
            "torch.tensor(...) between the parameters and the loss, and leave it out.",
            certain=True,
        )
        return
    if not found.unreached or "detach" not in record.design.custom_backward:
        return
    last = found.unreached[-1]
    layer = record.layers[last - 1]
    below = f", nor layers 1 to {last - 1} below it" if len(found.unreached) == last > 1 else ""
    yield Finding(
        "no-gradient",
        last,
        "gradient",
        0,
        {"layers without": float(len(found.unreached)), "layers": float(found.layers)},
        f"No gradient reaches layer {last} ({layer.name}){below}: the graph is cut after it by "
        f".detach() or .data, and what lies before the cut does not train.",
        "Leave the .detach() or .data out of forward.",
        certain=True,
    )


def place(name: str) -> str:
    """A module as it is reached from the model: "layers.0" is model.layers[0]."""
    parts = name.split(".") if name else []
    return "model" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)


def optimizer_code(record: Record) -> str:
    """A line that makes the optimizer anew, of all parameters."""
    design = record.design
    momentum = f", momentum={design.momentum:g}" if _has_momentum(record) else ""
    settings = f"lr={design.lr:g}{momentum}"
    return f"optimizer = torch.optim.{design.optimizer}(model.parameters(), {settings})"


def _has_momentum(record: Record) -> bool:
    design = record.design
    return design.optimizer in ("SGD", "RMSprop") and design.momentum > 0


def is_untrainable(findings: list[Finding]) -> bool:
    """Whether one says for certain that the network cannot be trained as it is."""
    return any(f.certain and f.cause in UNTRAINABLE for f in findings)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    more = len(names) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _do(names: list[str]) -> str:
    return "does" if len(names) == 1 else "do"


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _them(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _noun(names: list[str]) -> str:
    return "parameter" if len(names) == 1 else "parameters"


RULES = (frozen_parameters, parameters_not_optimized, no_gradient)
