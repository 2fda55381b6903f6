"""φ and grad ⊙ φ' against torch.nn.functional, autograd, float64 and finite differences."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.oracles import FUNCTIONS, derivative
from tests.problems import ACTIVATION_NAMES, DTYPES, assert_elementwise, dtype_id
from torchmlp.kernels.activations import ACTIVATIONS, activate, pull_back

HALF = (torch.bfloat16, torch.float16)
BOUNDARIES = (0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 6.0, -6.0, 20.0)
every_activation = pytest.mark.parametrize("activation", ACTIVATION_NAMES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
half_dtypes = pytest.mark.parametrize("dtype", HALF, ids=dtype_id)


def points(dtype: torch.dtype) -> Tensor:
    """From -1e4 to 1e4, dense around zero, with every boundary and its two neighbours."""
    boundaries = torch.tensor(BOUNDARIES, dtype=dtype)
    up, down = torch.tensor(math.inf, dtype=dtype), torch.tensor(-math.inf, dtype=dtype)
    neighbours = torch.cat([torch.nextafter(boundaries, up), torch.nextafter(boundaries, down)])
    tails = torch.logspace(-8, 4, 97, dtype=torch.float64)
    grid = torch.cat([torch.linspace(-30, 30, 2401, dtype=torch.float64), tails, -tails])
    return torch.cat([grid.to(dtype), boundaries, neighbours])


def pulled_back(activation: str, z: Tensor, grad: Tensor | None = None) -> Tensor:
    grad = torch.ones_like(z) if grad is None else grad
    return pull_back(grad, z, activate(z, activation), activation)


def test_every_name_is_there() -> None:
    """The public names are these and no others."""
    assert tuple(ACTIVATIONS) == ACTIVATION_NAMES


@every_dtype
@every_activation
def test_value_is_torchs(activation: str, dtype: torch.dtype) -> None:
    """φ(z) is torch.nn.functional's up to the last bits."""
    z = points(dtype)
    assert_elementwise(activate(z, activation), FUNCTIONS[activation](z))


@every_dtype
@every_activation
def test_pullback_is_autograds(activation: str, dtype: torch.dtype) -> None:
    """grad ⊙ φ'(z) is what autograd answers for torch.nn.functional, up to the last bits."""
    z = points(dtype).requires_grad_()
    grad = torch.rand_like(z) * 2 - 1
    expected = torch.autograd.grad(FUNCTIONS[activation](z), z, grad)[0]
    if activation == "softsign" and dtype in HALF:
        # torch chains roundings here, and loses the derivative to 0 or 1e-4 beyond z = 80.
        slope = derivative(activation, z.detach().double())
        expected = (grad.double() * slope).to(dtype)
    assert_elementwise(pulled_back(activation, z.detach(), grad), expected)


@half_dtypes
@pytest.mark.parametrize("activation", [name for name in ACTIVATION_NAMES if name != "softsign"])
def test_half_precision_rounds_once(activation: str, dtype: torch.dtype) -> None:
    """In 16 bits φ(z) is the real answer rounded once: half a unit in the last place.

    All but softsign's, whose torch function is three operators, and three roundings.
    """
    z = points(dtype)
    assert_rounded_once(activate(z, activation), FUNCTIONS[activation](z.double()))


@half_dtypes
@pytest.mark.parametrize(
    "activation", [name for name in ACTIVATION_NAMES if ACTIVATIONS[name].reads == "z"]
)
def test_half_precision_derivative_rounds_once(activation: str, dtype: torch.dtype) -> None:
    """In 16 bits φ'(z) is the real answer rounded once, where it is a function of z."""
    z = points(dtype)
    assert_rounded_once(pulled_back(activation, z), derivative(activation, z.double()))


def assert_rounded_once(actual: Tensor, real: Tensor) -> None:
    eps = torch.finfo(actual.dtype).eps
    # 1 % for float32's own roundings; GELU's tanh form cancels to 1e-6 of 1 in float32.
    tolerance = 0.51 * eps * real.abs() + 2e-6
    error = (actual.double() - real).abs()
    worst = int((error - tolerance).argmax())
    assert error[worst] <= tolerance[worst], f"{actual[worst]} for {real[worst]}"


@every_activation
def test_derivative_is_the_slope(activation: str) -> None:
    """φ' is what central differences of φ measure, away from the kinks."""
    z = torch.linspace(-7.03, 7.01, 113, dtype=torch.float64)
    h = 1e-6
    slope = (activate(z + h, activation) - activate(z - h, activation)) / (2 * h)
    torch.testing.assert_close(pulled_back(activation, z), slope, rtol=0, atol=1e-8)  # 1e-15 / h


@every_dtype
@pytest.mark.parametrize("at", BOUNDARIES, ids=str)
@every_activation
def test_kinks_are_torchs(activation: str, at: float, dtype: torch.dtype) -> None:
    """Exactly on a boundary the derivative is the one that torch.nn chose."""
    z = torch.tensor([at], dtype=dtype)
    assert_elementwise(pulled_back(activation, z), derivative(activation, z))
    assert_elementwise(activate(z, activation), FUNCTIONS[activation](z))


@pytest.mark.parametrize(
    ("activation", "at", "slope"),
    [
        ("relu", 0.0, 0.0),
        ("leaky_relu", 0.0, 0.01),
        ("elu", 0.0, 1.0),
        ("hardtanh", -1.0, 0.0),
        ("hardtanh", 1.0, 0.0),
        ("relu6", 0.0, 0.0),
        ("relu6", 6.0, 0.0),
        ("hardswish", -3.0, 0.0),
        ("hardswish", 3.0, 1.0),
    ],
)
def test_kinks_by_value(activation: str, at: float, slope: float) -> None:
    """The derivatives at the kinks, as numbers."""
    z = torch.tensor([at], dtype=torch.float64)
    assert pulled_back(activation, z).item() == slope


@every_dtype
@every_activation
def test_denormals_are_torchs(activation: str, dtype: torch.dtype) -> None:
    """A z below the smallest normal number keeps its sign, and its derivative is torch's."""
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    z = torch.tensor([smallest, -smallest, 8 * smallest, -8 * smallest], dtype=dtype)
    assert_elementwise(pulled_back(activation, z), derivative(activation, z))
    difference = (activate(z, activation) - FUNCTIONS[activation](z)).abs()
    at_zero = FUNCTIONS[activation](torch.zeros(1, dtype=dtype)).abs()
    assert (difference <= 4 * smallest + 2 * torch.finfo(dtype).eps * at_zero).all()


@every_dtype
@every_activation
def test_extremes(activation: str, dtype: torch.dtype) -> None:
    """At infinity, at nan and at the largest numbers the answers are torch's where it has one."""
    largest = torch.finfo(dtype).max
    huge = [1e4, 3e4, largest / 1e20, largest / 1e8, largest / 2, largest, math.inf]
    z = torch.tensor([sign * size for size in huge for sign in (1, -1)] + [math.nan], dtype=dtype)
    # The slope at nan is left out: torch's own differs between a vector's loop and its remainder.
    for actual, expected in (
        (activate(z, activation), FUNCTIONS[activation](z)),
        (pulled_back(activation, z)[:-1], derivative(activation, z)[:-1]),
    ):
        # Where torch answers ∞ − ∞ or 0 · ∞ with nan, so does this package.
        assert_elementwise(actual, expected)
    assert activate(z, activation)[-1].isnan()


@every_activation
def test_second_derivative_is_finite(activation: str) -> None:
    """φ'' is finite as far out as 1e4: no branch that was not taken contributes 0 · ∞."""
    for dtype in (torch.float64, torch.float32):
        z = torch.tensor([1e4, -1e4, 800.0, -800.0, 90.0, -90.0], dtype=dtype, requires_grad=True)
        slope = pull_back(torch.ones_like(z), z, activate(z, activation), activation)
        if slope.requires_grad:
            (curvature,) = torch.autograd.grad(slope.sum(), z, allow_unused=True)
            assert curvature is None or curvature.isfinite().all()


@pytest.mark.parametrize("grad", [math.inf, -math.inf, math.nan], ids=str)
@pytest.mark.parametrize(
    ("activation", "off"), [("relu", -1.0), ("hardtanh", 2.0), ("relu6", 7.0), ("hardswish", -4.0)]
)
def test_a_unit_that_is_off_answers_zero(activation: str, off: float, grad: float) -> None:
    """What a unit is switched off for does not get through, be it infinite or nan; as in torch."""
    z = torch.tensor([off], requires_grad=True)
    arrives = torch.tensor([grad])
    assert pulled_back(activation, z.detach(), arrives).item() == 0
    assert torch.autograd.grad(FUNCTIONS[activation](z), z, arrives)[0].item() == 0


@pytest.mark.parametrize(
    ("activation", "real"),
    [
        ("softplus", lambda z: math.log1p(math.exp(z))),
        ("elu", math.expm1),
        ("mish", lambda z: z * math.tanh(math.log1p(math.exp(z)))),
        ("silu", lambda z: z / (1 + math.exp(-z))),
        ("logsigmoid", lambda z: -math.log1p(math.exp(-z))),
    ],
    ids=["softplus", "elu", "mish", "silu", "logsigmoid"],
)
def test_left_tail_keeps_its_digits(activation: str, real: Callable[[float], float]) -> None:
    """In float32, where φ is tiny, it still has its leading five digits: nothing cancels."""
    z = torch.linspace(-12, -1e-3, 301)
    expected = torch.tensor([real(at) for at in z.tolist()], dtype=torch.float64)
    torch.testing.assert_close(activate(z, activation).double(), expected, rtol=2e-5, atol=0)


@every_activation
def test_reads_only_what_it_says(activation: str) -> None:
    """pull_back looks at nothing but what the activation `reads`; None will do for the rest."""
    z = torch.randn(20, dtype=torch.float64)
    a = activate(z, activation)
    reads = ACTIVATIONS[activation].reads
    expected = pull_back(torch.ones_like(z), z, a, activation)
    actual = pull_back(
        torch.ones_like(z), z if reads == "z" else None, a if reads == "a" else None, activation
    )
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 4)], ids=str)
@every_activation
def test_any_shape(activation: str, shape: tuple[int, ...]) -> None:
    """Elementwise: scalars, no elements, many axes."""
    z = torch.randn(shape)
    assert activate(z, activation).shape == shape
    assert pulled_back(activation, z).shape == shape


@every_activation
def test_inputs_are_left_alone(activation: str) -> None:
    """Neither function writes into its arguments."""
    z = torch.randn(50)
    before = z.clone()
    a = activate(z, activation)
    kept, grad = a.clone(), torch.ones(50)
    pull_back(grad, z, a, activation)
    assert torch.equal(z, before)
    assert torch.equal(a, kept)
    assert torch.equal(grad, torch.ones(50))


def test_unknown_name() -> None:
    """A misspelt activation is answered with the nearest name and all names."""
    z = torch.zeros(1)
    text = r"unknown activation 'Relu'; did you mean 'relu'\? expected one of: identity, "
    with pytest.raises(ValueError, match=text):
        activate(z, "Relu")
    with pytest.raises(ValueError, match=text):
        pull_back(z, z, z, "Relu")
