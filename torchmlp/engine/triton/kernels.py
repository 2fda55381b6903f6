"""The kernels: one pass over memory each, in float32 whatever the dtype that is stored.

The equations are those of `torchmlp.kernels.activations`, and what torch.optim says of SGD and
Adam. Values are widened as they are loaded: 16-bit arithmetic would round at every operation.
"""

import inspect
from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl


def _jit(function: Callable[..., Any]) -> Any:
    """A kernel, of the function's own source: a checker of annotations may have wrapped it."""
    return triton.jit(inspect.unwrap(function))


@_jit
def _tanh(z):
    e = tl.exp(-2 * tl.abs(z))
    far = (1 - e) / (1 + e)
    s = z * z
    # Near 0 that difference would lose what tanh has; the series is right to 1e-9 there.
    near = tl.abs(z) * (1 - s * (1 / 3 - s * (2 / 15 - s * (17 / 315))))
    t = tl.where(tl.abs(z) < 0.1, near, far)
    return tl.where(z < 0, -t, t)


@_jit
def _log1p(e):
    near = e * (1 - e * (0.5 - e * (1 / 3 - e * 0.25)))
    return tl.where(e < 0.01, near, tl.log(1 + e))


@_jit
def _softplus(z):
    return tl.where(z > 0, z, 0.0) + _log1p(tl.exp(-tl.abs(z)))


@_jit
def _sigmoid(z):
    e = tl.exp(-tl.abs(z))
    return tl.where(z < 0, e, 1.0) / (1 + e)


@_jit
def _value(z, PHI: tl.constexpr):
    """φ(z). A comparison with nan is false: each selects so that nan stays nan."""
    if PHI == "relu":
        return tl.where(z < 0, 0.0, z)
    elif PHI == "leaky_relu":
        return tl.where(z > 0, z, 0.01 * z)
    elif PHI == "elu":
        return tl.where(z > 0, z, tl.exp(tl.where(z > 0, 0.0, z)) - 1)
    elif PHI == "selu":
        low = 1.7580993408473766 * (tl.exp(tl.where(z > 0, 0.0, z)) - 1)
        return tl.where(z > 0, 1.0507009873554805 * z, low)
    elif PHI == "sigmoid":
        return _sigmoid(z)
    elif PHI == "tanh":
        return _tanh(z)
    elif PHI == "softplus":
        return _softplus(z)
    elif PHI == "silu":
        return z * _sigmoid(z)
    elif PHI == "gelu":
        return 0.5 * z * (1 + tl.erf(z * 0.7071067811865476))
    elif PHI == "gelu_tanh":
        return 0.5 * z * (1 + _tanh(0.7978845608028654 * (z + 0.044715 * z * z * z)))
    elif PHI == "mish":
        return z * _tanh(_softplus(z))
    elif PHI == "hardtanh":
        return tl.where(z < -1, -1.0, tl.where(z > 1, 1.0, z))
    elif PHI == "relu6":
        return tl.where(z < 0, 0.0, tl.where(z > 6, 6.0, z))
    elif PHI == "hardswish":
        return tl.where(z < -3, 0.0, tl.where(z > 3, z, z * (z + 3) / 6))
    elif PHI == "softsign":
        return z / (1 + tl.abs(z))
    elif PHI == "logsigmoid":
        return tl.where(z < 0, z, 0.0) - _log1p(tl.exp(-tl.abs(z)))
    else:
        return z


@_jit
def _pull_back(grad, s, PHI: tl.constexpr):
    """The product grad ⊙ φ', a function of s: of a for relu, sigmoid and tanh, else of z."""
    if PHI == "relu":
        return tl.where(s <= 0, 0.0, grad)
    elif PHI == "leaky_relu":
        return tl.where(s > 0, grad, 0.01 * grad)
    elif PHI == "elu":
        return tl.where(s > 0, grad, grad * tl.exp(tl.where(s > 0, 0.0, s)))
    elif PHI == "selu":
        low = 1.7580993408473766 * grad * tl.exp(tl.where(s > 0, 0.0, s))
        return tl.where(s > 0, 1.0507009873554805 * grad, low)
    elif PHI == "sigmoid":
        return grad * (1 - s) * s
    elif PHI == "tanh":
        return grad * (1 - s * s)
    elif PHI == "softplus":
        return grad * _sigmoid(s)
    elif PHI == "silu":
        p = _sigmoid(s)
        return grad * p * (1 + s * (1 - p))
    elif PHI == "gelu":
        cdf = 0.5 * (1 + tl.erf(s * 0.7071067811865476))
        return grad * (cdf + s * 0.3989422804014327 * tl.exp(-0.5 * s * s))
    elif PHI == "gelu_tanh":
        t = _tanh(0.7978845608028654 * (s + 0.044715 * s * s * s))
        slope = 0.7978845608028654 * (1 + 3 * 0.044715 * s * s)
        return grad * (0.5 * (1 + t) + 0.5 * s * (1 - t * t) * slope)
    elif PHI == "mish":
        t = _tanh(_softplus(s))
        return grad * (t + s * _sigmoid(s) * (1 - t * t))
    elif PHI == "hardtanh":
        return tl.where((s <= -1) | (s >= 1), 0.0, grad)
    elif PHI == "relu6":
        return tl.where((s <= 0) | (s >= 6), 0.0, grad)
    elif PHI == "hardswish":
        return tl.where(s <= -3, 0.0, tl.where(s >= 3, grad, grad * (s / 3 + 0.5)))
    elif PHI == "softsign":
        d = 1 + tl.abs(s)
        return grad / d / d
    elif PHI == "logsigmoid":
        return grad * _sigmoid(-s)
    else:
        return grad


@_jit
def bias_activation(
    z_at,
    bias_at,
    mask_at,
    a_at,
    dropped_at,
    count,
    width,
    PHI: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    KEEPS_Z: tl.constexpr,
    HAS_MASK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Bias and activation: z ← z + b, a ← φ(z), and a ⊙ mask where units are dropped."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    z = tl.load(z_at + at, mask=inside).to(tl.float32)
    if HAS_BIAS:
        z += tl.load(bias_at + at % width, mask=inside).to(tl.float32)
    if KEEPS_Z:
        tl.store(z_at + at, z, mask=inside)
    a = _value(z, PHI)
    tl.store(a_at + at, a, mask=inside)
    if HAS_MASK:
        mask = tl.load(mask_at + at, mask=inside).to(tl.float32)
        tl.store(dropped_at + at, a * mask, mask=inside)


@_jit
def delta_slope(
    delta_at,
    read_at,
    mask_at,
    count,
    PHI: tl.constexpr,
    HAS_MASK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Delta and slope: δ ← (δ ⊙ mask) ⊙ φ'."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    delta = tl.load(delta_at + at, mask=inside).to(tl.float32)
    if HAS_MASK:
        delta *= tl.load(mask_at + at, mask=inside).to(tl.float32)
    read = tl.load(read_at + at, mask=inside).to(tl.float32)
    tl.store(delta_at + at, _pull_back(delta, read, PHI), mask=inside)


@_jit
def sgd(
    places_at,
    blocks_at,
    lr,
    momentum,
    new,
    decay,
    sign,
    HAS_VELOCITY: tl.constexpr,
    NESTEROV: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A step of torch.optim.SGD; `new` is 1 − dampening, `sign` −1 where it ascends.

    Of each tensor `places` has four numbers: the addresses of parameter, gradient and velocity, and
    how many elements there are; of each block `blocks` has the tensor's and the first element's.
    """
    block = blocks_at + 2 * tl.program_id(0)
    place = places_at + 5 * tl.load(block)
    at = tl.load(block + 1) + tl.arange(0, BLOCK)
    inside = at < tl.load(place + 4)
    p_at = tl.load(place).to(tl.pointer_type(tl.float32)) + at
    g_at = tl.load(place + 1).to(tl.pointer_type(tl.float32)) + at
    p = tl.load(p_at, mask=inside)
    g = sign * tl.load(g_at, mask=inside) + decay * p
    if HAS_VELOCITY:
        v_at = tl.load(place + 2).to(tl.pointer_type(tl.float32)) + at
        v = momentum * tl.load(v_at, mask=inside) + new * g
        tl.store(v_at, v, mask=inside)
        if NESTEROV:
            g += momentum * v
        else:
            g = v
    tl.store(p_at, p - lr * g, mask=inside)


@_jit
def adam(
    places_at,
    blocks_at,
    rate,
    new1,
    beta2,
    new2,
    eps,
    decay,
    fade,
    root,
    sign,
    BLOCK: tl.constexpr,
):
    """A step of torch.optim.Adam and AdamW, of moments m and v.

    `rate` is η / (1 − β1ᵗ), `root` √(1 − β2ᵗ), `new1` and `new2` 1 − β1 and 1 − β2, which float32
    would have lost of β2. `decay` is added to the gradient (Adam), `fade` multiplies the parameter
    (AdamW: 1 − ηλ).
    """
    block = blocks_at + 2 * tl.program_id(0)
    place = places_at + 5 * tl.load(block)
    at = tl.load(block + 1) + tl.arange(0, BLOCK)
    inside = at < tl.load(place + 4)
    p_at = tl.load(place).to(tl.pointer_type(tl.float32)) + at
    g_at = tl.load(place + 1).to(tl.pointer_type(tl.float32)) + at
    m_at = tl.load(place + 2).to(tl.pointer_type(tl.float32)) + at
    v_at = tl.load(place + 3).to(tl.pointer_type(tl.float32)) + at
    p = tl.load(p_at, mask=inside)
    g = sign * tl.load(g_at, mask=inside) + decay * p
    m = tl.load(m_at, mask=inside)
    m += new1 * (g - m)
    v = beta2 * tl.load(v_at, mask=inside) + new2 * g * g
    tl.store(m_at, m, mask=inside)
    tl.store(v_at, v, mask=inside)
    step = m / (tl.sqrt(v) / root + eps)
    tl.store(p_at, fade * p - rate * step, mask=inside)
