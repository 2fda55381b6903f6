"""Wrong gradients are caught by finite differences, right ones pass, and nothing is left behind."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tests.problems import ACTIVATION_NAMES
from torchmlp import MLP, check_gradients, dense, network_loss


def problem(seed: int) -> tuple[MLP, Tensor, Tensor]:
    """A network of depth 1 to 6 with each activation in its turn, and a batch; float32."""
    torch.manual_seed(seed)
    depth = seed % 6 + 1
    model = MLP(5, [6] * (depth - 1), 3, ACTIVATION_NAMES[seed % len(ACTIVATION_NAMES)])
    for bias in model.biases:
        assert bias is not None
        nn.init.normal_(bias, 0, 0.3)
    return model, torch.randn(9, 5), torch.randint(3, (9,))


def test_right_gradients_pass() -> None:
    """Every activation, every depth, in float32 and float64, at a hundredth of the default."""
    for seed in range(34):
        model, x, target = problem(seed)
        if seed % 2:
            model, x = model.double(), x.double()
        report = check_gradients(partial(cross_entropy, model, x, target), model, tolerance=1e-7)
        assert report.ok, f"{seed=}\n{report}"
        assert max(report.errors.values()) < 1e-7


def test_two_passes_for_each_direction() -> None:
    """Without a kink in the way, a direction costs two forward passes."""
    torch.manual_seed(0)
    model = MLP(5, [6], 3, "tanh")
    x, calls = torch.randn(9, 5), 0

    def loss() -> Tensor:
        nonlocal calls
        calls += 1
        value: Tensor = model(x).square().mean()
        return value

    report = check_gradients(loss, model)
    assert report.ok
    # The gradient's own direction and four of random signs; a bias is taken element by element.
    expected = [2 * (1 + 4), 2 * (1 + 6), 2 * (1 + 4), 2 * (1 + 3)]
    assert [m.passes for m in report.measurements.values()] == expected
    assert calls == sum(expected) + 2


def cross_entropy(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The loss of a batch."""
    loss: Tensor = F.cross_entropy(model(x), target)
    return loss


def planted(right: Tensor, kind: str, size: float) -> Tensor:
    """The gradient with an error of ‖error‖ = size·‖right‖."""
    error = torch.randn_like(right)
    if kind == "factor":
        error = right.clone()
    elif kind == "element":
        error = torch.zeros_like(right)
        error.view(-1)[right.numel() // 2] = 1.0
    wrong: Tensor = right + error * (size * right.norm() / error.norm())
    return wrong


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0])
def test_planted_errors_are_caught(size: float) -> None:
    """From 1e-6 to 1, in each tensor of nets of depth 1 to 6, and no other tensor is accused."""
    for seed, kind in zip(range(3, 21, 3), ["factor", "noise", "element"] * 2, strict=True):
        model, x, target = problem(seed)
        model, x = model.double(), x.double()
        loss = partial(cross_entropy, model, x, target)
        names = [name for name, _ in model.named_parameters()]
        right = dict(zip(names, torch.autograd.grad(loss(), list(model.parameters())), strict=True))
        for name in names[:: max(1, len(names) // 3)]:
            given = right | {name: planted(right[name], kind, size)}
            report = check_gradients(loss, model, given, tolerance=size / 20)
            wrong = [n for n, m in report.measurements.items() if not m.is_right]
            assert wrong == [name], f"{seed=}\n{report}"
            assert report.errors[name] > size / 20


def test_the_default_tolerance() -> None:
    """An error of 1e-4 fails; the text names the tensor and says so."""
    model, x, target = problem(3)
    given = {name: p.detach() * 0 for name, p in model.named_parameters()}
    for (name, _), g in zip(
        model.named_parameters(),
        torch.autograd.grad(F.cross_entropy(model(x), target), list(model.parameters())),
        strict=True,
    ):
        given[name] = g
    given["layers.1.bias"] = given["layers.1.bias"] * (1 + 1e-3)
    report = check_gradients(lambda: F.cross_entropy(model(x), target), model, given)
    assert not report.ok
    (line,) = [line for line in str(report).splitlines() if "WRONG" in line]
    assert line.startswith("layers.1.bias")
    assert str(report).endswith("gradients wrong by more than 1e-05")


def test_own_nodes_are_what_is_checked() -> None:
    """network_loss and dense, called with float32, are differentiated in float64 by their nodes."""
    model, x, target = problem(4)

    def whole() -> Tensor:
        return network_loss(x, target, model.weights, model.biases, model.activations)

    assert check_gradients(whole, model, tolerance=1e-7).ok
    weight = torch.randn(4, 5, requires_grad=True)
    assert check_gradients(lambda: dense(x, weight, None, "gelu").sum(), [weight]).ok


class Doubled(torch.autograd.Function):
    """A user's node with a backward that is wrong by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        result: Tensor = 4 * x * grad
        return result


def test_a_users_function() -> None:
    """A torch.autograd.Function with a wrong backward, in float32, is caught with its error."""
    x = torch.randn(4, requires_grad=True)
    apply: Any = Doubled.apply
    report = check_gradients(lambda: apply(x).sum(), {"x": x})
    assert not report.ok
    assert report.errors["x"] == pytest.approx(0.5, rel=1e-3)


def test_kinks_are_stepped_over() -> None:
    """Units exactly on their kink: autograd's gradient is right beside it."""
    torch.manual_seed(0)
    model = MLP(3, [8, 8, 8], 2, "relu")  # biases are zero
    x = torch.cat([torch.zeros(3, 3), torch.randn(4, 3)])  # and so is z, for three samples
    target = torch.randint(2, (7,))
    assert check_gradients(lambda: F.cross_entropy(model(x), target), model).ok
    given = torch.autograd.grad(F.cross_entropy(model(x), target), list(model.parameters()))
    report = check_gradients(lambda: F.cross_entropy(model(x), target), model, given)
    assert report.ok, report
    report = check_gradients(lambda: F.cross_entropy(model(x), target), model, [-g for g in given])
    assert not report.ok


def test_everything_is_left_as_it_was() -> None:
    """Values, dtypes, gradients and the random generator are untouched, an error or not."""
    model, x, target = problem(2)
    torch.autograd.backward(F.cross_entropy(model(x), target))
    kept = [(p, p.detach().clone(), p.grad) for p in model.parameters()]
    state = torch.get_rng_state()
    check_gradients(lambda: F.cross_entropy(model(x), target), model)
    with pytest.raises(ZeroDivisionError):
        check_gradients(lambda: 1 / 0, model)
    for parameter, before, grad in kept:
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, before)
        assert parameter.grad is grad
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_is_held_still() -> None:
    """The same units are dropped at every call."""
    model = MLP(5, [20], 3, "tanh", dropout=0.5)
    x = torch.randn(9, 5)
    assert check_gradients(lambda: model(x).square().mean(), model).ok


def test_numpy() -> None:
    """Arrays are moved in place; their gradients have to be given."""
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(3, 4)), rng.normal(size=(5, 4))
    before = weight.copy()

    def loss() -> Any:
        return 0.5 * ((x @ weight.T) ** 2).sum()

    right = (x @ weight.T).T @ x
    assert check_gradients(loss, {"W": weight}, {"W": right}).ok
    assert not check_gradients(loss, {"W": weight}, {"W": right.T.reshape(3, 4)}).ok
    assert np.array_equal(weight, before)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("number", [float, np.float64, np.asarray, np.atleast_2d, torch.as_tensor])
def test_numpy_functions(dtype: Any, number: Any) -> None:
    """A dict that loss and gradients are functions of, in float32 too; any kind of number."""
    rng = np.random.default_rng(0)
    own = {"W": rng.normal(size=(3, 4)).astype(dtype), "b": np.zeros((3, 1), dtype)}
    kept = {name: (array, array.copy()) for name, array in own.items()}
    x = rng.normal(size=(4, 5)).astype(dtype)

    def loss() -> Any:
        return number(np.square(np.tanh(own["W"] @ x + own["b"])).sum(dtype=np.float64) / 2)

    def gradients(off: float = 0.0) -> dict[str, Any]:
        a = np.tanh(own["W"] @ x + own["b"])
        delta = a * (1 - a**2)
        return {"W": delta @ x.T, "b": delta.sum(1, keepdims=True) + off}

    assert check_gradients(loss, own, gradients, tolerance=1e-6).ok
    assert check_gradients(loss, own, gradients()).ok
    report = check_gradients(loss, own, lambda: gradients(1e-3))
    assert [m.is_right for m in report.measurements.values()] == [True, False]
    for name, (array, before) in kept.items():
        assert own[name] is array
        assert np.array_equal(array, before)


def test_unused_and_zero() -> None:
    """A parameter that the loss does not read has gradient zero; one that it reads has not."""
    a, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    report = check_gradients(lambda: a.square().sum(), {"a": a, "b": b})
    assert report.ok
    assert report.errors["b"] == 0
    report = check_gradients(lambda: a.detach().square().sum() + b.sum(), {"a": a, "b": b})
    assert not report.ok
    assert report.errors["a"] == pytest.approx(1, rel=1e-3)


def test_mistakes_are_explained() -> None:
    """What cannot be checked is refused, with the tensor's name and both shapes."""
    model, x, target = problem(1)
    right = [p.detach() for p in model.parameters()]

    def loss() -> Tensor:
        return F.cross_entropy(model(x), target)

    def outputs() -> Tensor:
        output: Tensor = model(x)
        return output

    def refused(kind: type[Exception], text: str, *args: Any, **options: Any) -> None:
        with pytest.raises(kind, match=text):
            check_gradients(*args, **options)

    wrong = [right[0].t(), *right[1:]]
    refused(
        ValueError,
        r"the gradient of layers\.0\.weight has shape \(5, 6\), its parameter has shape \(6, 5\)",
        loss, model, wrong,
    )  # fmt: skip
    refused(ValueError, r"no gradient for 'layers\.0\.bias'", loss, model, {
        name: p for name, p in model.named_parameters() if name != "layers.0.bias"
    })  # fmt: skip
    wrong = [right[0] * torch.nan, *right[1:]]
    refused(
        ValueError, r"the gradient of layers\.0\.weight, shape \(6, 5\).*nan", loss, model, wrong
    )
    wrong = [right[0].long(), *right[1:]]
    refused(TypeError, r"layers\.0\.weight, got torch\.int64 of shape \(6, 5\)", loss, model, wrong)
    refused(ValueError, r"expected a scalar from loss_fn, got shape \(9, 3\)", outputs, model)
    refused(ValueError, r"loss_fn returned nan", lambda: model(x).sum() * torch.nan, model)
    refused(ValueError, r"tolerance between 0 and 1, got 2", loss, model, tolerance=2.0)
    refused(ValueError, r"requires no gradient", loss, {"x": x})
    refused(ValueError, r"does not depend on a parameter", lambda: 1 * x.sum(), model)
    stale = np.ones(2, np.float32)
    refused(TypeError, r"float64 array for W, got float32 of shape \(2,\).*W\.astype\(np\.float64",
            lambda: float(stale.sum()), {"W": stale}, {"W": np.ones(2)})  # fmt: skip
    refused(TypeError, r"floating-point numbers for W, got int64 of shape \(2,\)", loss,
            {"W": np.zeros(2, int)}, {"W": np.zeros(2)})  # fmt: skip
    numbers = iter(range(10))
    refused(
        ValueError,
        r"gave 0\.0 and then 1\.0|gave 0\.\d+ and then",
        lambda: model(x).sum() * 0 + next(numbers),
        model,
    )


class _Linear(torch.autograd.Function):
    """As people write it: arguments are kept as they come, and multiplied in backward."""

    is_right = True

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.x = x
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, weight = ctx.saved_tensors
        bias = delta.sum(0) if _Linear.is_right else delta.mean(0)
        return delta @ weight, delta.T @ ctx.x, bias


@pytest.mark.parametrize("is_right", [True, False])
def test_a_float32_function_that_takes_parameters_directly(
    is_right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its backward is widened as its forward is: what is right passes, and what is wrong is found,
    in float32 as it is."""
    monkeypatch.setattr(_Linear, "is_right", is_right)
    apply: Any = _Linear.apply
    parameters = {
        name: torch.randn(shape, requires_grad=True)
        for name, shape in {"w1": (6, 4), "b1": (6,), "w2": (3, 6), "b2": (3,)}.items()
    }
    x, target = torch.randn(7, 4), torch.randint(3, (7,))

    def loss() -> Tensor:
        w1, b1, w2, b2 = parameters.values()
        return nn.functional.cross_entropy(apply(apply(x, w1, b1).relu(), w2, b2), target)

    report = check_gradients(loss, parameters, tolerance=1e-6)
    wrong = {name for name, m in report.measurements.items() if not m.is_right}
    assert wrong == (set() if is_right else {"b1", "b2"})
    assert all(parameter.dtype == torch.float32 for parameter in parameters.values())
