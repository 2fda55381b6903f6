"""Weight initialisations by name, including the bad ones that the diagnosis is tested on.

| name | weights | source |
| --- | --- | --- |
| auto | he, xavier or lecun, by the layer's activation | |
| he | N(0, 2 / fan_in) | He et al. (2015) |
| xavier | N(0, 2 / (fan_in + fan_out)) | Glorot & Bengio (2010) |
| lecun | N(0, 1 / fan_in) | LeCun et al. (1998), Efficient BackProp |
| normal(std) | N(0, std²) | |
| uniform(low, high) | U(low, high) | |
| constant(value) | value | |

Biases start at zero under every one of them.
"""

import math
from collections.abc import Callable

from torch import Tensor, nn

from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.names import find

SPELLINGS = {
    "auto": "auto",
    "he": "he",
    "xavier": "xavier",
    "lecun": "lecun",
    "normal": "normal(std)",
    "uniform": "uniform(low, high)",
    "constant": "constant(value)",
}
# Standard deviation by fan_in and fan_out, rounded as torch.nn.init rounds it.
_SPREADS: dict[str, Callable[[float, float], float]] = {
    "he": lambda fan_in, _: math.sqrt(2) / math.sqrt(fan_in),
    "xavier": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "lecun": lambda fan_in, _: 1 / math.sqrt(fan_in),
}
_XAVIER = {"identity", "sigmoid", "tanh", "hardtanh", "softsign"}


def parse_init(init: str) -> tuple[str, list[float]]:
    """Name and arguments of an initialisation.

    Raises:
        ValueError: unknown name, not its number of arguments, or a spread below zero.

    Example:
        >>> parse_init("uniform(0, 1)")
        ('uniform', [0.0, 1.0])
    """
    name, opening, rest = str(init).strip().partition("(")
    name = name.strip()
    spelling = find("init", name, SPELLINGS)
    if opening and not rest.endswith(")"):
        raise ValueError(f"init {init!r}: expected {spelling}")
    parts = rest.removesuffix(")").strip()
    try:
        arguments = [float(part) for part in parts.split(",") if parts]
    except ValueError:
        raise ValueError(f"init {init!r}: expected {spelling} with numbers") from None
    if len(arguments) != (spelling.count(",") + 1 if "(" in spelling else 0):
        raise ValueError(f"init {init!r}: expected {spelling}")
    if not all(math.isfinite(argument) for argument in arguments):
        raise ValueError(f"init {init!r}: expected finite numbers")
    if (name == "normal" and arguments[0] < 0) or (
        name == "uniform" and arguments[0] > arguments[1]
    ):
        raise ValueError(f"init {init!r}: expected {spelling} with std >= 0, low <= high")
    return name, arguments


def auto_init(activation: str) -> str:
    """The initialisation that keeps the variance of this activation's layer: he, xavier or lecun.

    Saturating and linear layers take xavier; selu takes lecun, which its fixed point assumes
    (Klambauer et al. 2017); the rest are rectifiers in shape and take he.
    """
    find("activation", activation, ACTIVATIONS)
    if activation == "selu":
        return "lecun"
    return "xavier" if activation in _XAVIER else "he"


def spread(activation: str, init: str, fan_in: float, fan_out: float) -> float:
    """The standard deviation that an initialisation takes from a layer's sizes.

    Args:
        activation: what follows the layer; `auto` chooses by it.
        init: one of the table above.
        fan_in: above 0, as is fan_out; not always whole numbers.
        fan_out: the layer's units.

    Returns:
        sqrt of the variance in the table; 1 for weights that the sizes do not enter.

    Raises:
        ValueError: as `parse_init`.
    """
    name, _ = parse_init(init)
    name = auto_init(activation) if name == "auto" else name
    return _SPREADS[name](fan_in, fan_out) if name in _SPREADS else 1.0


def initialise_(weight: Tensor, bias: Tensor | None, activation: str, init: str = "auto") -> None:
    """Draw a layer's weights in place from torch's global generator; set its bias to zero.

    Args:
        weight: (fan_out, fan_in). Nothing is drawn for a weight without elements.
        bias: (fan_out,) or None.
        activation: what follows the layer; `auto` chooses by it.
        init: one of the table above.

    Raises:
        ValueError: as `parse_init`.
    """
    name, arguments = parse_init(init)
    if name == "auto":
        name = auto_init(activation)
    if bias is not None:
        nn.init.zeros_(bias)
    if weight.numel() == 0:
        return
    fan_out, fan_in = weight.shape
    if name in _SPREADS:
        nn.init.normal_(weight, 0.0, _SPREADS[name](fan_in, fan_out))
    elif name == "normal":
        nn.init.normal_(weight, 0.0, arguments[0])
    elif name == "uniform":
        nn.init.uniform_(weight, arguments[0], arguments[1])
    else:
        nn.init.constant_(weight, arguments[0])
