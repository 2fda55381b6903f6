"""SGD's update as six coefficients per parameter, fused into the gradient's matrix product.

The gradient g = (1/B) δᵀ a is not stored: its matrix product is added to the parameter itself, or
to its velocity.
"""

from typing import Any, NamedTuple


class SGDUpdate(NamedTuple):
    """The coefficients of one parameter's step, in the order they are applied.

        value += ahead · into
        into   = fade · into + decay · value           (only where decay is not 0)
        into   = beta · into + alpha · g
        value -= rate · into                           (only where rate is not 0)

    `into` is the parameter itself, its velocity, or its gradient.
    """

    ahead: float
    fade: float
    decay: float
    beta: float
    alpha: float
    rate: float


def gradient_only(kept: float = 0.0) -> SGDUpdate:
    """Into the gradient's buffer, of which `kept` stays: the optimizer does the rest."""
    return SGDUpdate(0.0, 1.0, 0.0, kept, 1.0, 0.0)


def sgd_update(
    lr: Any,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    *,
    first: bool = False,
) -> SGDUpdate:
    """The step of torch.optim.SGD.

        plain      W ← W − ηλ W − η g
        velocity   V ← μ V + (1 − τ) (g + λ W)     W ← W − η V
        Nesterov   W ← W − η (g + λ W + μ V), V being the new one. As g + λ W = V − μ V_old it is
                   W ← W + ημ V_old − η (1 + μ) V, which needs no gradient that is stored.

    Args:
        lr: η; a tensor of many networks' gives their descents, each coefficient that it enters
            being such a tensor.
        momentum: μ.
        dampening: τ; 0 where Nesterov's.
        weight_decay: λ.
        nesterov: whether the step looks ahead.
        maximize: ascend; the decay still decays.
        first: whether the velocity starts with this step, at g + λ W, dampening or not.

    Source: Sutskever et al. (2013), in the form of torch.optim.SGD's documentation.
    """
    sign = -1.0 if maximize else 1.0
    if momentum == 0:
        # 1 − ηλ as beta would be rounded alike in every step: 3e-6 off after a hundred of float32.
        ahead = -lr * weight_decay if weight_decay else 0.0
        return SGDUpdate(ahead, 1.0, 0.0, 1.0, -lr * sign, 0.0)
    keep, new = (0.0, 1.0) if first else (momentum, 1.0 - dampening)
    ahead = lr * momentum if nesterov and not first else 0.0
    rate = lr * (1.0 + momentum) if nesterov else lr
    decay = new * weight_decay
    if decay == 0:
        return SGDUpdate(ahead, 1.0, 0.0, keep, new * sign, rate)
    # The value has moved ahead by then: what `into` takes of that is taken back.
    return SGDUpdate(ahead, keep - decay * ahead, decay, 1.0, new * sign, rate)
