"""Maximal update parametrization (muP): a layer's initial-weight and learning-rate multipliers.

Under the standard parametrization the largest rate that trains falls as the hidden layers are
widened. Under maximal update parametrization ("mup") one step changes every pre-activation by an
amount that the width does not enter, so the best rate stays. A network at the reference width is
the same under either. With r_in and r_out, how many times larger a layer's fans are than there:

| | initial weights, times | rate of SGD, times | rate of Adam, times |
| --- | --- | --- | --- |
| input layer (r_in = 1) | 1 | r_out | 1 |
| hidden layer | r_in^-1/2 | r_out / r_in | 1 / r_in |
| output layer (r_out = 1) | r_in^-1 | 1 / r_in | 1 / r_in |
| bias of any layer, fan_in 1 | starts at 0 | r_out | 1 |

Initial weights are those of the named initialisation for the sizes of the reference network.
Momentum changes nothing in it. What keeps its meaning at another width, and what does not:

- SGD's weight decay is part of the gradient: a layer decays by its own rate, lr · factor · λ.
  AdamW's likewise, so that wide layers decay more slowly. Adam's ε is compared with gradients that
  fall with the width.
- A limit on the norm of all gradients, dropout and the batch size act as they do.
- Numbers given as the initialisation, normal(std) and the like, are those of the reference width;
  where their mean is not 0, pre-activations grow with the width nevertheless.

Source: Yang & Hu (2021), Feature Learning in Infinite-Width Neural Networks; Yang et al. (2022),
Tensor Programs V, table 3.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from torchmlp.kernels.init import spread
from torchmlp.kernels.names import find

PARAMETRIZATIONS = ("standard", "mup")


class Growth(NamedTuple):
    """How many times larger a layer's fans are than at the reference width; 1, 1 for as large."""

    fan_in: float
    fan_out: float


def growths(widths: Sequence[int], parametrization: str, base_width: int) -> list[Growth]:
    """The growth of each layer, first to last; under the standard parametrization nothing grows.

    Args:
        widths: in_features, the hidden layers' widths, out_features.
        parametrization: "standard" or "mup".
        base_width: of every hidden layer of the reference network.

    Raises:
        ValueError: an unknown parametrization, a base_width below 1.

    Example:
        >>> growths([784, 512, 10], "mup", 64)
        [Growth(fan_in=1.0, fan_out=8.0), Growth(fan_in=8.0, fan_out=1.0)]
    """
    find("parametrization", parametrization, dict.fromkeys(PARAMETRIZATIONS))
    if base_width < 1:
        raise ValueError(
            f"expected a base_width of at least 1, the width at which mup changes nothing, "
            f"got {base_width}"
        )
    grown = [width / base_width if parametrization == "mup" else 1.0 for width in widths[1:-1]]
    return [Growth(*pair) for pair in pairwise([1.0, *grown, 1.0])]


def init_factor(
    activation: str, init: str, fan_in: int, fan_out: int, growth: Growth, *, is_last: bool
) -> float:
    """What the weights that `initialise_` has drawn for a layer are multiplied by.

    Args:
        activation: what follows the layer.
        init: initial weights by name.
        fan_in: the layer's own, as is fan_out.
        fan_out: its units.
        growth: of the layer.
        is_last: whether it is the output layer.

    Returns:
        The factor; exactly 1 for a layer that has not grown.
    """
    reference = spread(activation, init, fan_in / growth.fan_in, fan_out / growth.fan_out)
    own = spread(activation, init, float(fan_in), float(fan_out))
    return float(reference / own * growth.fan_in ** (-1.0 if is_last else -0.5))


def rate_factors(growth: Growth, *, follows_gradient: bool) -> tuple[float, float]:
    """What the learning rates of a layer's weight and of its bias are multiplied by.

    Args:
        growth: of the layer.
        follows_gradient: whether an optimizer's step is twice as long for twice the gradient, as
            SGD's is and Adam's is not.

    Example:
        >>> rate_factors(Growth(1.0, 8.0), follows_gradient=True)
        (8.0, 8.0)
        >>> rate_factors(Growth(8.0, 1.0), follows_gradient=False)
        (0.125, 1.0)
    """
    if follows_gradient:
        return growth.fan_out / growth.fan_in, growth.fan_out
    return 1 / growth.fan_in, 1.0
