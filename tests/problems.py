"""Named cases, and how close an answer has to be."""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from tests.oracles import FUNCTIONS

# Written out, not read from the package: a name that goes missing there fails here.
ACTIVATION_NAMES = (
    "identity",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "sigmoid",
    "tanh",
    "softplus",
    "silu",
    "gelu",
    "gelu_tanh",
    "mish",
    "hardtanh",
    "relu6",
    "hardswish",
    "softsign",
    "logsigmoid",
)

# Where an activation has a kink, in itself or in its derivative: a finite difference across one
# means nothing.
KINKS = {
    "relu": (0.0,),
    "leaky_relu": (0.0,),
    "elu": (0.0,),
    "selu": (0.0,),
    "hardtanh": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
    "hardswish": (-3.0, 3.0),
    "softsign": (0.0,),
    "softplus": (20.0,),
}

# A loss, and the form its target takes.
LOSS_CASES = ("cross_entropy-indices", "cross_entropy-probabilities", "mse", "bce")


@dataclass(frozen=True)
class Tolerance:
    """How far two right answers may lie apart, in units of the dtype's eps.

    Attributes:
        elementwise: a formula, relative to the larger of 1 and the answer.
        product: a matrix product, relative to the answer's largest element.
    """

    elementwise: float
    product: float


# float64, float32: both sides round every step of a formula of up to ten steps, and GELU's tanh
# form cancels 1 − tanh² on both (23 roundings apart is the worst seen; another formula is 1e5).
# A sum of up to a few hundred products adds its roundings in another order than the oracle's.
# 16 bits: the formula is computed in float32 and rounded once, and so is torch's: neighbours at
# most. Products are accumulated in float32 by both, and rounded once.
TOLERANCES = {
    torch.float64: Tolerance(elementwise=32, product=64),
    torch.float32: Tolerance(elementwise=16, product=64),
    torch.bfloat16: Tolerance(elementwise=1, product=2),
    torch.float16: Tolerance(elementwise=1, product=2),
}

# Two ways through a whole network in float64, forward and back: some 1e3 roundings of 1e-16.
NETWORK_RTOL = 1e-12

DTYPES = tuple(TOLERANCES)


def dtype_id(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def assert_elementwise(actual: Tensor, expected: Tensor) -> None:
    """Same shape, same dtype, equal up to the formula's roundings; nan and infinity alike."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    roundings = TOLERANCES[actual.dtype].elementwise * torch.finfo(actual.dtype).eps
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=roundings, atol=roundings, equal_nan=True
    )


def assert_product(actual: Tensor, expected: Tensor) -> None:
    """Same shape, same dtype, equal up to the roundings of a matrix product."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    size = expected.detach().abs().max().item() if expected.numel() else 0.0
    roundings = TOLERANCES[actual.dtype].product * torch.finfo(actual.dtype).eps
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=0, atol=roundings * max(size, 1e-300)
    )


@dataclass(frozen=True)
class Problem:
    """A network and a batch: the arguments of `network_loss`, in its order."""

    x: Tensor
    target: Tensor
    weights: list[Tensor]
    biases: list[Tensor | None]
    activations: list[str]
    loss: str

    @property
    def parameters(self) -> list[Tensor]:
        """W_1, b_1, ..., W_L, b_L, without the biases that are None."""
        pairs = zip(self.weights, self.biases, strict=True)
        return [tensor for pair in pairs for tensor in pair if tensor is not None]

    @property
    def leaves(self) -> list[Tensor]:
        """Everything that can have a gradient: x, the parameters, a soft target."""
        soft = [self.target] if self.target.is_floating_point() else []
        return [self.x, *self.parameters, *soft]

    def wanting_gradients(self) -> "Problem":
        """A copy whose leaves all require a gradient."""

        def leaf(tensor: Tensor) -> Tensor:
            return tensor.detach().clone().requires_grad_()

        return replace(
            self,
            x=leaf(self.x),
            target=leaf(self.target) if self.target.is_floating_point() else self.target,
            weights=[leaf(weight) for weight in self.weights],
            biases=[None if bias is None else leaf(bias) for bias in self.biases],
        )


def network_problem(
    activation: str,
    loss_case: str,
    *,
    batch: tuple[int, ...] = (5,),
    widths: tuple[int, ...] = (4, 6, 5, 3),
    output_activation: str | None = None,
    bias: bool = True,
    dtype: torch.dtype = torch.float64,
) -> Problem:
    """Values of order one, every pre-activation at least 1e-2 away from every kink."""
    activations = [activation] * (len(widths) - 2) + [output_activation or activation]
    target = encode_targets(loss_case, batch, widths[-1])
    if target.is_floating_point():
        target = target.to(dtype)
    for _ in range(1000):
        x = torch.randn(*batch, widths[0], dtype=torch.float64)
        pairs = list(pairwise(widths))
        weights = [torch.randn(o, i, dtype=torch.float64) / i**0.5 for i, o in pairs]
        biases = [torch.randn(o, dtype=torch.float64) if bias else None for _, o in pairs]
        if _clear_of_kinks(x, weights, biases, activations):
            return Problem(
                x.to(dtype),
                target,
                [weight.to(dtype) for weight in weights],
                [None if b is None else b.to(dtype) for b in biases],
                activations,
                loss_case.partition("-")[0],
            )
    raise AssertionError("no network found that stays away from the kinks")


def _clear_of_kinks(
    x: Tensor, weights: list[Tensor], biases: list[Tensor | None], activations: list[str]
) -> bool:
    for weight, bias, activation in zip(weights, biases, activations, strict=True):
        z = torch.nn.functional.linear(x, weight, bias)
        for kink in KINKS.get(activation, ()):
            if ((z - kink).abs() < 1e-2).any():
                return False
        x = FUNCTIONS[activation](z)
    return True


def encode_targets(loss_case: str, batch: tuple[int, ...], classes: int) -> Tensor:
    """A target of the form that the case names, in float64 where it is soft."""
    if loss_case == "cross_entropy-indices":
        return torch.randint(classes, batch)
    if loss_case == "cross_entropy-probabilities":
        return torch.randn(*batch, classes, dtype=torch.float64).softmax(-1)
    if loss_case == "bce":
        return torch.rand(*batch, classes, dtype=torch.float64)
    return torch.randn(*batch, classes, dtype=torch.float64)
