import pytest
import torch
from torch import Tensor

from tests.oracles import FUNCTIONS, derivative
from tests.problems import ACTIVATION_NAMES, DTYPES, KINKS, assert_elementwise, dtype_id
from torchmlp.engine.steps.inplace_activations import in_place
from torchmlp.kernels.activations import ACTIVATIONS, activate, pull_back

every_activation = pytest.mark.parametrize("activation", ACTIVATION_NAMES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)

# Where torch's derivative at nan differs between a vector's lanes and the elements behind them.
UNDECIDED_AT_NAN = ("hardtanh", "relu6", "hardswish", "elu", "selu")


def points(activation: str, dtype: torch.dtype) -> Tensor:
    """Values of all sizes, the kinks themselves and their neighbours, both zeros."""
    kinks = torch.tensor([*KINKS.get(activation, ()), 0.0, -0.0], dtype=torch.float64).to(dtype)
    near = torch.cat([torch.nextafter(kinks, kinks + s) for s in (-1.0, 1.0)])
    values = torch.cat([torch.linspace(-30, 30, 101), torch.logspace(-4, 2, 30), torch.randn(50)])
    return torch.cat([values.to(dtype), kinks, near])


def in_buffers(activation: str, z: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """φ(z) and grad ⊙ φ'(z) as a step computes them: z and a share memory where they may."""
    kernel = in_place(activation)
    z = z.clone()
    a = torch.empty_like(z) if ACTIVATIONS[activation].reads == "z" else z
    delta = grad.clone()
    kernel.value(z, a)
    value = a.clone()
    kernel.pull_back(delta, z, a)
    assert a.equal(value) or value.isnan().any(), "the pullback has changed the activation"
    return value, delta


@every_activation
@every_dtype
def test_the_same_as_out_of_place(activation: str, dtype: torch.dtype) -> None:
    """In its buffers each activation and pullback is torchmlp.kernels.activations', to rounding,
    at the kinks and beside them too."""
    z = points(activation, dtype)
    grad = torch.randn(len(z), dtype=torch.float64).to(dtype)
    value, delta = in_buffers(activation, z, grad)
    a = activate(z, activation)
    assert_elementwise(value, a)
    assert_elementwise(delta, pull_back(grad, z, a, activation))


@every_activation
def test_the_same_as_torch(activation: str) -> None:
    """And torch.nn.functional's, whose derivative autograd takes."""
    z = points(activation, torch.float64)
    grad = torch.randn_like(z)
    value, delta = in_buffers(activation, z, grad)
    assert_elementwise(value, FUNCTIONS[activation](z))
    assert_elementwise(delta, grad * derivative(activation, z))


@every_activation
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=dtype_id)
def test_nan_and_infinity(activation: str, dtype: torch.dtype) -> None:
    """What is not finite, in z or in the gradient, gives what it gives out of place."""
    special = [float("nan"), float("inf"), float("-inf")]
    z = torch.tensor(special * 8 + [1.0, -1.0, 0.5], dtype=dtype)
    if activation in UNDECIDED_AT_NAN:
        z = z[~z.isnan()]
    grad = torch.randn_like(z)
    grad[-3:] = torch.tensor(special, dtype=dtype)
    value, delta = in_buffers(activation, z, grad)
    a = activate(z, activation)
    assert_elementwise(value, a)
    assert_elementwise(delta, pull_back(grad, z, a, activation))


@every_activation
def test_a_saturated_unit_passes_nothing_on(activation: str) -> None:
    """Where φ' is exactly 0 an infinite gradient gives what it does in torch: 0 for ReLU's kind."""
    z = torch.full((9,), -20.0, dtype=torch.float64)
    grad = torch.full_like(z, float("inf"))
    _, delta = in_buffers(activation, z, grad)
    leaf = z.clone().requires_grad_()
    FUNCTIONS[activation](leaf).backward(grad)  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    assert delta.isnan().equal(leaf.grad.isnan())
    if activation in ("relu", "relu6", "hardtanh"):
        assert (delta == 0).all()


@every_activation
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 3)], ids=str)
def test_any_shape(activation: str, shape: tuple[int, int]) -> None:
    """Zero rows and single elements included; a non-zero offset is kept."""
    z, grad = torch.randn(shape), torch.randn(shape)
    value, delta = in_buffers(activation, z, grad)
    a = activate(z, activation)
    assert_elementwise(value, a)
    assert_elementwise(delta, pull_back(grad, z, a, activation))
