"""The losses and their derivatives against torch.nn.functional and finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.oracles import central_difference, losses
from tests.problems import DTYPES, LOSS_CASES, assert_elementwise, dtype_id, encode_targets
from torchmlp.kernels.losses import LOSSES, check_target, loss_delta, mean_of_losses

every_case = pytest.mark.parametrize("case", LOSS_CASES)
batches = pytest.mark.parametrize("batch", [(), (1,), (6,), (2, 3)], ids=str)
FULL = (torch.float64, torch.float32)
HALF = (torch.bfloat16, torch.float16)


def name_of(case: str) -> str:
    return case.partition("-")[0]


def batch_of(
    case: str, batch: tuple[int, ...], dtype: torch.dtype = torch.float64, spread: float = 3.0
) -> tuple[Tensor, Tensor]:
    output = (spread * torch.randn(*batch, 4, dtype=torch.float64)).to(dtype)
    target = encode_targets(case, batch, 4)
    return output, target.to(dtype) if target.is_floating_point() else target


def delta_by_autograd(output: Tensor, target: Tensor, loss: str) -> Tensor:
    output = output.detach().requires_grad_()
    (delta,) = torch.autograd.grad(losses(output, target, loss).sum(), output)
    return delta


@batches
@every_case
def test_value_is_torchs(case: str, batch: tuple[int, ...]) -> None:
    """The loss of each sample is torch.nn.functional's, and E is its mean."""
    output, target = batch_of(case, batch)
    expected = losses(output, target, name_of(case))
    assert_elementwise(LOSSES[name_of(case)].value(output, target), expected)
    assert_elementwise(mean_of_losses(output, target, name_of(case)), expected.mean())


@batches
@every_case
def test_delta_is_autograds(case: str, batch: tuple[int, ...]) -> None:
    """e' is what autograd answers for one sample's loss: it is not divided by the rows."""
    output, target = batch_of(case, batch)
    expected = delta_by_autograd(output, target, name_of(case))
    assert_elementwise(loss_delta(output, target, name_of(case)), expected)


@every_case
def test_delta_is_the_slope(case: str) -> None:
    """e' is what central differences of the summed losses measure."""
    output, target = batch_of(case, (3,))
    loss = LOSSES[name_of(case)]
    slope = central_difference(lambda at: loss.value(at, target).sum(), output)
    torch.testing.assert_close(loss.delta(output, target), slope, rtol=0, atol=1e-7)


@pytest.mark.parametrize("case", LOSS_CASES[1:])
def test_gradient_of_the_target_is_the_slope(case: str) -> None:
    """∂e/∂target, where a target is soft, is what central differences and autograd answer."""
    output, target = batch_of(case, (3,))
    loss = LOSSES[name_of(case)]
    actual = loss.grad_target(output, target)
    slope = central_difference(lambda at: loss.value(output, at).sum(), target)
    torch.testing.assert_close(actual, slope, rtol=0, atol=1e-7)
    target.requires_grad_()
    (expected,) = torch.autograd.grad(losses(output, target, name_of(case)).sum(), target)
    assert_elementwise(actual, expected)


def test_delta_by_hand() -> None:
    """Prediction minus target, in numbers."""
    logits = torch.log(torch.tensor([[1.0, 3.0]]))
    assert_elementwise(
        loss_delta(logits, torch.tensor([1]), "cross_entropy"), torch.tensor([[0.25, -0.25]])
    )
    assert_elementwise(
        loss_delta(torch.tensor([[0.0]]), torch.tensor([[1.0]]), "bce"), torch.tensor([[-0.5]])
    )
    assert_elementwise(
        loss_delta(torch.tensor([[2.0]]), torch.tensor([[5.0]]), "mse"), torch.tensor([[-3.0]])
    )


def test_mse_by_hand() -> None:
    """Half the squared error, summed over the outputs, averaged over the samples."""
    output, target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 2)
    assert mean_of_losses(output, target, "mse").item() == 0.5 * (1 + 4) / 2


def test_probabilities_need_not_sum_to_one() -> None:
    """Weights of any sum: the delta is p · Σt − t, as autograd has it."""
    output, target = torch.randn(5, 4).double(), torch.rand(5, 4).double() * 3
    expected = delta_by_autograd(output, target, "cross_entropy")
    assert_elementwise(loss_delta(output, target, "cross_entropy"), expected)


def test_one_hot_is_the_index() -> None:
    """A one-hot probability and the class index are one target."""
    output, index = torch.randn(5, 4).double(), torch.tensor([0, 3, 1, 1, 2])
    one_hot = torch.nn.functional.one_hot(index, 4).double()
    for answer in (mean_of_losses, loss_delta):
        assert_elementwise(
            answer(output, index, "cross_entropy"), answer(output, one_hot, "cross_entropy")
        )


@pytest.mark.parametrize("size", [100.0, 1e4])
@pytest.mark.parametrize("dtype", [*FULL, torch.bfloat16, torch.float16], ids=dtype_id)
@pytest.mark.parametrize("case", [case for case in LOSS_CASES if case != "mse"])
def test_stable_at_large_logits(case: str, dtype: torch.dtype, size: float) -> None:
    """Logits of 1e4, right or wrong, give a finite loss and a finite delta: torch's."""
    output = torch.tensor([[size, -size, 0.0], [-size, size, 0.0], [size, size, -size]]).to(dtype)
    target = torch.tensor([0, 0, 2])
    if case != "cross_entropy-indices":
        target = torch.nn.functional.one_hot(target, 3).to(dtype)
    name = name_of(case)
    value, delta = mean_of_losses(output, target, name), loss_delta(output, target, name)
    assert value.isfinite()
    assert delta.isfinite().all()
    wide = target.float() if target.is_floating_point() else target
    expected = losses(output.float(), wide, name).mean()
    torch.testing.assert_close(value.float(), expected, rtol=1e-5, atol=0)
    assert_elementwise(delta, delta_by_autograd(output.float(), wide, name).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_case
def test_dtypes(case: str, dtype: torch.dtype) -> None:
    """The loss is computed in at least float32; the delta has the output's dtype."""
    output, target = batch_of(case, (6,), dtype)
    wide = target.double() if target.is_floating_point() else target
    value = mean_of_losses(output, target, name_of(case))
    assert value.dtype == (torch.float32 if dtype in HALF else dtype)
    expected = losses(output.double(), wide, name_of(case)).mean()
    torch.testing.assert_close(value.double(), expected, rtol=2e-6, atol=0)
    delta = loss_delta(output, target, name_of(case))
    assert_elementwise(delta, delta_by_autograd(output.double(), wide, name_of(case)).to(dtype))


@every_case
def test_zero_rows(case: str) -> None:
    """No rows: the mean is nan, as torch.nn's is; the delta has no rows either."""
    output, target = batch_of(case, (0,))
    assert mean_of_losses(output, target, name_of(case)).isnan()
    assert loss_delta(output, target, name_of(case)).shape == (0, 4)


@every_case
def test_inputs_are_left_alone(case: str) -> None:
    """Neither value nor derivatives write into their arguments."""
    output, target = batch_of(case, (6,))
    before = output.clone(), target.clone()
    mean_of_losses(output, target, name_of(case))
    loss_delta(output, target, name_of(case))
    assert torch.equal(output, before[0])
    assert torch.equal(target, before[1])


@pytest.mark.parametrize("label", [-1, 3, 100, -100])
def test_label_outside_the_classes(label: int) -> None:
    """A label that is no class is named, with how many there are and what to do."""
    target = torch.tensor([0, label, 2, label])
    with pytest.raises(
        ValueError,
        match=rf"cross_entropy: label {label} is outside the 3 classes 0\.\.2 \(2 of 4 labels are\)"
        r"; fix the labels or out_features",
    ):
        mean_of_losses(torch.zeros(4, 3), target, "cross_entropy")


SHAPES: list[tuple[str, Callable[[], Tensor], str]] = [
    (
        "cross_entropy",
        lambda: torch.zeros(5, dtype=torch.long),
        r"expected a target of shape \(4,\) for an output of shape \(4, 3\), got \(5,\)",
    ),
    (
        "cross_entropy",
        lambda: torch.zeros(4, 1, dtype=torch.long),
        r"expected a target of shape \(4,\) for an output of shape \(4, 3\), got \(4, 1\)",
    ),
    (
        "cross_entropy",
        lambda: torch.zeros(4, 2),
        r"expected a target of shape \(4, 3\) for an output of shape \(4, 3\), got \(4, 2\)",
    ),
    (
        "mse",
        lambda: torch.zeros(4),
        r"mse: expected a target of shape \(4, 3\) for an output of shape \(4, 3\), got \(4,\)",
    ),
    (
        "bce",
        lambda: torch.zeros(3, 4),
        r"bce: expected a target of shape \(4, 3\) for an output of shape \(4, 3\), got \(3, 4\)",
    ),
]


@pytest.mark.parametrize(
    ("loss", "target", "text"),
    SHAPES,
    ids=["indices", "column-of-indices", "probabilities", "mse-column", "bce-transposed"],
)
def test_target_of_another_shape(loss: str, target: Callable[[], Tensor], text: str) -> None:
    """A target that does not fit is refused with both shapes: nothing broadcasts."""
    with pytest.raises(ValueError, match=text):
        mean_of_losses(torch.zeros(4, 3), target(), loss)


@pytest.mark.parametrize(
    ("loss", "dtype", "text"),
    [
        ("cross_entropy", torch.int32, r"got torch\.int32; convert with target\.long\(\)"),
        ("cross_entropy", torch.bool, r"got torch\.bool; convert with target\.long\(\)"),
        ("mse", torch.int64, r"mse: .*got torch\.int64; .*one_hot\(target, 3\)\.float\(\)"),
        ("bce", torch.int64, r"bce: .*got torch\.int64; .*one_hot\(target, 3\)\.float\(\)"),
    ],
)
def test_target_of_another_dtype(loss: str, dtype: torch.dtype, text: str) -> None:
    """A dtype the loss has no meaning for is refused, with the remedy."""
    with pytest.raises(TypeError, match=text):
        check_target(torch.Size((4, 3)), torch.zeros(4, dtype=dtype), loss)


@pytest.mark.parametrize("call", [mean_of_losses, loss_delta])
def test_unknown_loss(call: Callable[[Tensor, Tensor, str], Tensor]) -> None:
    """A misspelt loss is answered with the nearest name and all names."""
    with pytest.raises(
        ValueError,
        match=r"unknown loss 'crossentropy'; did you mean 'cross_entropy'\? expected one of: "
        r"cross_entropy, mse, bce",
    ):
        call(torch.zeros(2, 2), torch.zeros(2, 2), "crossentropy")


def test_labels_as_numbers_are_told_of() -> None:
    """Class indices that came as float64 get the call that mends them."""
    with pytest.raises(ValueError, match=r"integers, not torch.float64: target.long\(\)"):
        mean_of_losses(torch.zeros(4, 3), torch.zeros(4, dtype=torch.float64), "cross_entropy")
