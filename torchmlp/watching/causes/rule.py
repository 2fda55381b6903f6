"""What a cause is made of."""

import linecache
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

import torch
from torch import Tensor, nn

from torchmlp._compat.torch_internals import module_hooks
from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.watching.seen.loop import Loop
from torchmlp.watching.seen.sites import Site


class Stage(IntEnum):
    """Where in a training step a mistake lies; an earlier one can explain a later one."""

    DATA = 1
    MODEL = 2
    LOSS = 3
    BACKWARD = 4
    UPDATE = 5
    SCHEDULE = 6
    EVALUATION = 7


class Rule:
    """A cause: hears what it needs by methods named after the listener's events.

    Attributes:
        cause: its name.
        stage: where it lies.
        explains: causes that are not named beside it.
        functions: the functions of torch that it wants to hear.
        only_close: events that it needs to hear only while the loop is looked at closely; what is
            heard in every step after that has to cost next to nothing.
        loop: what is known of the loop.
    """

    cause: ClassVar[str]
    stage: ClassVar[Stage]
    explains: ClassVar[tuple[str, ...]] = ()
    functions: ClassVar[frozenset[str]] = frozenset()
    only_close: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def found(self) -> Finding | None:
        """The finding, if there is one; not `certain` where it may be meant."""
        raise NotImplementedError

    def finding(
        self,
        site: Site | None,
        explanation: str,
        remedy: str,
        evidence: Mapping[str, int | float],
        *,
        quantity: str = "gradient",
        step: int = 0,
        layer: int | None = None,
        certain: bool = True,
    ) -> Finding:
        """A finding of this cause at a line."""
        return Finding(
            self.cause,
            layer,
            quantity,
            step,
            {name: float(value) for name, value in evidence.items()},
            explanation,
            remedy,
            symptoms=self.explains,
            certain=certain,
            file=site.file if site else None,
            line=site.line if site else None,
        )


def source_of(site: Site | None) -> str:
    """The text of a line; "" where it cannot be read."""
    return linecache.getline(site.file, site.line).strip() if site else ""


def quoted(site: Site | None, otherwise: str = "the call") -> str:
    """The line for a sentence: "line 12, `loss.backward()`"."""
    text = source_of(site)
    if site is None:
        return otherwise
    return f"line {site.line}, `{shortened(text)}`" if text else f"line {site.line}"


def shortened(text: str, width: int = 60) -> str:
    """At most so many characters."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def owner_of(site: Site | None, method: str, otherwise: str) -> str:
    """What stands before a method on a line: "opt" of "opt.step()"."""
    found = re.search(rf"([A-Za-z_][\w.]*(?:\[\w+\])?)\.{method}\b", source_of(site))
    return found[1] if found else otherwise


def describe(model: nn.Module) -> str:
    """The class of a module, for a sentence."""
    return type(model).__name__


def name_in(model: nn.Module | None, parameter: Tensor) -> str:
    """The name of a parameter in a model; its shape where it is not the model's."""
    for name, own in model.named_parameters() if model is not None else ():
        if own is parameter:
            return name
    return f"a tensor of shape {tuple(parameter.shape)}"


def is_noisy(model: nn.Module) -> bool:
    """Whether a model is another one when it trains: dropout, or statistics of the batch."""
    return any(
        isinstance(module, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001  the base of all of them
        or (isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0)  # noqa: SLF001  likewise
        or _rate(module) > 0
        or _is_normalized(module)
        for module in model.modules()
    )


def _is_normalized(module: nn.Module) -> bool:
    """Whether its weight is divided by a norm that is estimated in training mode only."""
    hooks = [type(hook).__name__ for hook in module_hooks(module)[1].values()]
    parts = [type(m).__name__ for m in module.modules()]
    return "SpectralNorm" in hooks or "_SpectralNorm" in parts


def _rate(module: nn.Module) -> float:
    """The dropout of a recurrent layer or an attention, which is a number of theirs."""
    rate = getattr(module, "dropout", 0.0)
    return rate if isinstance(rate, float) else 0.0


def has_values(tensor: Tensor | None) -> bool:
    """Whether a gradient is there and not all zeros."""
    if tensor is None or tensor.is_sparse:
        return tensor is not None
    with torch.no_grad():
        return bool(tensor.any())
