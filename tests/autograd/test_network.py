"""network_loss() against autograd through nn.Sequential and finite differences."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from tests.oracles import loss_and_gradients, losses, sequential, worst_relative_error
from tests.problems import (
    ACTIVATION_NAMES,
    LOSS_CASES,
    NETWORK_RTOL,
    Problem,
    dtype_id,
    network_problem,
)
from torchmlp.autograd import network_loss
from torchmlp.autograd.composed import is_foreign

every_case = pytest.mark.parametrize("case", LOSS_CASES)
every_activation = pytest.mark.parametrize("activation", ACTIVATION_NAMES)
half_dtypes = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=dtype_id)
STRICT: dict[str, Any] = {"rtol": 0.0, "atol": 1e-7}
KINDS = ("identity", "relu", "tanh", "gelu", "hardswish")


def loss_of(problem: Problem) -> Tensor:
    return network_loss(
        problem.x,
        problem.target,
        problem.weights,
        problem.biases,
        problem.activations,
        problem.loss,
    )


def as_function(problem: Problem) -> Callable[..., Tensor]:
    """The loss as a function of x, W_1, b_1, ... and a soft target, in that order."""
    depth = len(problem.weights)
    bias = problem.biases[0] is not None

    def function(x: Tensor, *rest: Tensor) -> Tensor:
        target = rest[-1] if problem.target.is_floating_point() else problem.target
        weights = rest[: 2 * depth : 2] if bias else rest[:depth]
        biases = rest[1 : 2 * depth : 2] if bias else None
        return network_loss(x, target, weights, biases, problem.activations, problem.loss)

    return function


def assert_is_autograds(problem: Problem) -> None:
    """Loss and all gradients are those of nn.Sequential, to 1e-12."""
    value, expected = loss_and_gradients(problem)
    problem = problem.wanting_gradients()
    loss = loss_of(problem)
    assert loss.shape == ()
    assert worst_relative_error([loss], [value]) < NETWORK_RTOL
    gradients = torch.autograd.grad(loss, problem.leaves)
    assert worst_relative_error(gradients, expected) < NETWORK_RTOL


@every_case
@every_activation
def test_is_autograds(activation: str, case: str) -> None:
    """For every activation and loss: the loss and every gradient, x and soft target included."""
    assert_is_autograds(network_problem(activation, case))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("widths", [(4, 3), (4, 1, 3), (4, 6, 6, 6, 3)], ids=str)
@pytest.mark.parametrize("batch", [(), (1,), (7,), (2, 3), (2, 1, 2)], ids=str)
def test_any_network(batch: tuple[int, ...], widths: tuple[int, ...], bias: bool) -> None:
    """Any depth, width and number of batch axes, with and without biases."""
    assert_is_autograds(
        network_problem(
            "tanh",
            "cross_entropy-indices",
            batch=batch,
            widths=widths,
            bias=bias,
            output_activation="identity",
        )
    )


def test_some_biases() -> None:
    """A bias may be None in one layer and not in another."""
    problem = network_problem("tanh", "mse")
    assert_is_autograds(replace(problem, biases=[problem.biases[0], None, problem.biases[2]]))


def test_no_biases_and_one_activation() -> None:
    """`biases=None` means no bias anywhere, one activation name means every layer."""
    problem = network_problem("tanh", "mse", bias=False)
    short = network_loss(problem.x, problem.target, problem.weights, None, "tanh", "mse")
    assert torch.equal(short, loss_of(problem))


@pytest.mark.parametrize("mixture", [("relu", "gelu", "identity"), ("silu", "identity", "tanh")])
def test_mixed_activations(mixture: tuple[str, ...]) -> None:
    """Layers with different activations."""
    problem = network_problem("gelu", "mse")
    assert_is_autograds(replace(problem, activations=list(mixture)))


@pytest.mark.parametrize("batch", [(0,), (0, 2), (2, 0)], ids=str)
@every_case
def test_zero_rows(case: str, batch: tuple[int, ...]) -> None:
    """No rows: a loss of nan, as torch.nn has it, and gradients of zeros."""
    problem = network_problem("relu", case, batch=batch).wanting_gradients()
    loss = loss_of(problem)
    assert loss.isnan()
    for leaf, gradient in zip(
        problem.leaves, torch.autograd.grad(loss, problem.leaves), strict=True
    ):
        assert gradient.shape == leaf.shape
        assert (gradient == 0).all()


def test_is_one_node() -> None:
    """Between the loss and the leaves there is one autograd node and nothing else."""
    problem = network_problem("gelu", "mse").wanting_gradients()
    node = loss_of(problem).grad_fn
    assert node is not None
    assert node.name() == "NetworkFunctionBackward"
    below = [function for function, _ in node.next_functions if function is not None]
    assert {function.name() for function in below} == {"torch::autograd::AccumulateGrad"}
    assert len(below) == len(problem.leaves)


@pytest.mark.parametrize("case", ["cross_entropy-indices", "mse"])
@every_activation
def test_gradcheck(activation: str, case: str) -> None:
    """First derivatives are the finite differences, to 1e-7: reverse, forward and batched."""
    problem = network_problem(
        activation, case, batch=(2,), widths=(2, 3, 2), output_activation="identity"
    ).wanting_gradients()
    assert gradcheck(
        as_function(problem),
        problem.leaves,
        check_forward_ad=True,
        check_batched_grad=True,
        **STRICT,
    )


@every_activation
def test_gradgradcheck(activation: str) -> None:
    """Second derivatives are the finite differences, to 1e-7."""
    problem = network_problem(
        activation, "cross_entropy-probabilities", batch=(2,), widths=(2, 2, 2)
    ).wanting_gradients()
    assert gradgradcheck(as_function(problem), problem.leaves, **STRICT)


@every_case
def test_gradgradcheck_of_each_loss(case: str) -> None:
    """Second derivatives hold for each loss, in forward-over-reverse mode as well."""
    problem = network_problem("tanh", case, batch=(2,), widths=(2, 2, 2)).wanting_gradients()
    assert gradgradcheck(as_function(problem), problem.leaves, check_fwd_over_rev=True, **STRICT)


@every_activation
def test_double_backward_is_autograds(activation: str) -> None:
    """The gradient of a gradient's norm is nn.Sequential's, to 1e-10."""
    problem = network_problem(activation, "cross_entropy-indices").wanting_gradients()
    network = sequential(problem)
    leaves = [problem.x, *network.parameters()]

    def penalty(loss: Tensor, of: Sequence[Tensor]) -> list[Tensor | None]:
        first = torch.autograd.grad(loss, of, create_graph=True)
        total = sum((gradient.square().sum() for gradient in first), start=torch.zeros(()))
        return list(torch.autograd.grad(total, of, allow_unused=True))

    actual = penalty(loss_of(problem), problem.leaves)
    value = F.cross_entropy(network(problem.x), problem.target)
    pairs = [
        (torch.zeros_like(leaf) if a is None else a, torch.zeros_like(leaf) if e is None else e)
        for a, e, leaf in zip(actual, penalty(value, leaves), leaves, strict=True)
    ]
    assert worst_relative_error([a for a, _ in pairs], [e for _, e in pairs]) < 1e-10


def test_first_derivatives_stay_right_while_second_are_recorded() -> None:
    """create_graph=True changes no first derivative."""
    problem = network_problem("gelu", "bce").wanting_gradients()
    plain = torch.autograd.grad(loss_of(problem), problem.leaves)
    recorded = torch.autograd.grad(loss_of(problem), problem.leaves, create_graph=True)
    assert worst_relative_error(recorded, plain) < NETWORK_RTOL


def test_third_order() -> None:
    """Three derivatives deep, the answers are those of nn.Sequential."""
    problem = network_problem("tanh", "mse", batch=(2,), widths=(2, 3, 2)).wanting_gradients()
    network = sequential(problem)

    def third(loss: Tensor) -> Tensor:
        for _ in range(3):
            (gradient,) = torch.autograd.grad(loss, problem.x, create_graph=True)
            loss = gradient.square().sum()
        return gradient

    expected = third(losses(network(problem.x), problem.target, "mse").mean())
    assert worst_relative_error([third(loss_of(problem))], [expected]) < 1e-9


def flops(function: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    total: int = counter.get_total_flops()
    return total


WIDTHS = (3, 5, 7, 2)


@pytest.mark.parametrize(
    "wanted",
    [(6,), (5,), (3, 4), (1,), (0,), (2, 5), (1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4, 5, 6)],
    ids=str,
)
def test_frozen_subsets(wanted: tuple[int, ...]) -> None:
    """What is frozen gets no gradient, what is not gets autograd's, and no product is wasted."""
    problem = network_problem("silu", "cross_entropy-indices", batch=(8,), widths=WIDTHS)
    _, expected = loss_and_gradients(problem)
    problem = problem.wanting_gradients()
    for k, leaf in enumerate(problem.leaves):  # x, W_1, b_1, W_2, b_2, W_3, b_3
        leaf.requires_grad_(k in wanted)
    loss = loss_of(problem)
    spent = flops(loss.backward)
    for k, leaf in enumerate(problem.leaves):
        assert (leaf.grad is not None) == (k in wanted)
        if leaf.grad is not None:
            assert worst_relative_error([leaf.grad], [expected[k]]) < NETWORK_RTOL
    products = [2 * 8 * fan_in * out for fan_in, out in pairwise(WIDTHS)]
    weights = sum(products[(k - 1) // 2] for k in wanted if k % 2 == 1)
    lowest = 0 if 0 in wanted else (min(wanted) + 1) // 2  # the deltas go down to this layer
    assert spent == weights + sum(products[lowest:])


def test_nothing_wants_a_gradient() -> None:
    """Without a gradient to compute the loss has no history."""
    problem = network_problem("gelu", "mse")
    assert loss_of(problem).grad_fn is None
    with torch.no_grad():
        assert loss_of(problem.wanting_gradients()).grad_fn is None


def kept_bytes(function: Callable[[], Tensor], parameters: Sequence[Tensor]) -> int:
    """Bytes of the storages kept for backward, without the parameters, which live anyway."""
    storages: dict[int, int] = {}
    alive = []

    def pack(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    ours = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    return sum(size for address, size in storages.items() if address not in ours)


@every_case
@every_activation
def test_keeps_no_more_than_sequential(activation: str, case: str) -> None:
    """What is kept for backward is not above what nn.Sequential and the loss keep."""
    problem = network_problem(activation, case, batch=(8,)).wanting_gradients()
    network = sequential(problem)
    ours = kept_bytes(lambda: loss_of(problem), problem.parameters)
    theirs = kept_bytes(
        lambda: losses(network(problem.x), problem.target, problem.loss).mean(),
        list(network.parameters()),
    )
    assert 0 < ours <= theirs


def test_output_is_freed_at_once() -> None:
    """The node holds no cycle: memory goes without the garbage collector."""
    loss = loss_of(network_problem("gelu", "mse").wanting_gradients())
    alive = weakref.ref(loss)
    del loss
    assert alive() is None


@pytest.mark.parametrize("index", [0, 1, 3], ids=["x", "W_1", "W_2"])
def test_a_change_in_place_is_noticed(index: int) -> None:
    """Backward refuses an input that was overwritten after the forward pass."""
    problem = network_problem("tanh", "mse").wanting_gradients()
    loss = loss_of(problem)
    with torch.no_grad():
        problem.leaves[index].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(loss)


@pytest.mark.parametrize("case", ["cross_entropy-indices", "mse"])
@pytest.mark.parametrize("activation", KINDS)
def test_torch_func(activation: str, case: str) -> None:
    """torch.func's grad, vmap over samples and over networks, and jvp agree with autograd."""
    problem = network_problem(activation, case)
    _, expected = loss_and_gradients(problem)
    leaves, function = problem.leaves, as_function(problem)
    which = tuple(range(len(leaves)))
    gradients = torch.func.grad(function, which)(*leaves)
    assert worst_relative_error(gradients, expected) < NETWORK_RTOL

    tangents = [torch.randn_like(leaf) for leaf in leaves]
    value, slope = torch.func.jvp(function, tuple(leaves), tuple(tangents))[:2]
    along = sum((g * t).sum() for g, t in zip(expected, tangents, strict=True))
    assert isinstance(along, Tensor)
    assert worst_relative_error([value, slope], [loss_of(problem), along]) < 1e-11

    def one_sample(x: Tensor, target: Tensor) -> Tensor:
        return loss_of(replace(problem, x=x, target=target))

    per_sample = torch.func.vmap(one_sample)(problem.x, problem.target)
    assert worst_relative_error([per_sample.mean()], [loss_of(problem)]) < NETWORK_RTOL
    by_sample = torch.func.vmap(torch.func.grad(one_sample))(problem.x, problem.target)
    assert worst_relative_error([by_sample / len(problem.x)], [expected[0]]) < NETWORK_RTOL

    stacked = torch.stack([problem.weights[0], 2 * problem.weights[0]])
    many = torch.func.vmap(
        lambda weight: loss_of(replace(problem, weights=[weight, *problem.weights[1:]]))
    )(stacked)
    assert worst_relative_error([many[0]], [loss_of(problem)]) < NETWORK_RTOL


@pytest.mark.parametrize("case", ["cross_entropy-indices", "mse"])
def test_hessian(case: str) -> None:
    """torch.func's Hessian of the loss by a weight matrix is nn.Sequential's."""
    problem = network_problem("tanh", case, widths=(2, 3, 2))
    network = sequential(problem)

    def ours(weight: Tensor) -> Tensor:
        return loss_of(replace(problem, weights=[weight, *problem.weights[1:]]))

    def theirs(weight: Tensor) -> Tensor:
        output = torch.func.functional_call(network, {"0.weight": weight}, problem.x)
        return losses(output, problem.target, problem.loss).mean()

    at = problem.weights[0]
    expected = torch.func.hessian(theirs)(at)
    assert worst_relative_error([torch.func.hessian(ours)(at)], [expected]) < 1e-10
    plain: Any = torch.autograd.functional.hessian
    assert worst_relative_error([plain(ours, at)], [expected]) < 1e-10
    assert worst_relative_error([plain(ours, at, vectorize=True)], [expected]) < 1e-10


@half_dtypes
@every_case
def test_half_precision(case: str, dtype: torch.dtype) -> None:
    """In 16 bits everything runs, keeps its dtype and is right to a few roundings."""
    problem = network_problem(
        "gelu", case, batch=(64,), widths=(16, 32, 5), output_activation="identity"
    )
    _, expected = loss_and_gradients(problem)
    half = replace(
        problem,
        x=problem.x.to(dtype),
        target=problem.target.to(dtype) if problem.target.is_floating_point() else problem.target,
        weights=[weight.to(dtype) for weight in problem.weights],
        biases=[None if bias is None else bias.to(dtype) for bias in problem.biases],
    ).wanting_gradients()
    loss = loss_of(half)
    assert loss.dtype == dtype
    gradients = torch.autograd.grad(loss, half.leaves)
    assert all(gradient.dtype == dtype for gradient in gradients)
    assert worst_relative_error(gradients, expected) < 8 * torch.finfo(dtype).eps


@half_dtypes
def test_autocast(dtype: torch.dtype) -> None:
    """Under autocast: float32 loss and gradients, computed in 16 bits like nn.Sequential's."""
    problem = network_problem(
        "gelu", "cross_entropy-indices", batch=(64,), widths=(16, 32, 5), dtype=torch.float32
    ).wanting_gradients()
    network = sequential(problem)
    with torch.autocast("cpu", dtype=dtype):
        loss = loss_of(problem)
        value = F.cross_entropy(network(problem.x), problem.target)
    assert loss.dtype == value.dtype == torch.float32
    torch.testing.assert_close(loss, value, rtol=1e-5, atol=0)
    gradients = torch.autograd.grad(loss, problem.leaves)
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    expected = torch.autograd.grad(value, [problem.x, *network.parameters()])
    assert worst_relative_error(gradients, expected) < 8 * torch.finfo(dtype).eps


def test_autocast_leaves_float64_alone() -> None:
    """A float64 network under autocast is the float64 network."""
    problem = network_problem("tanh", "mse").wanting_gradients()
    plain = torch.autograd.grad(loss_of(problem), problem.leaves)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(problem)
    assert loss.dtype == torch.float64
    assert worst_relative_error(torch.autograd.grad(loss, problem.leaves), plain) == 0


def test_backward_under_autocast() -> None:
    """Calling backward inside the autocast region, against advice, changes no gradient."""
    problem = network_problem("tanh", "mse", dtype=torch.float32).wanting_gradients()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = torch.autograd.grad(loss_of(problem), problem.leaves)
        loss = loss_of(problem)
    outside = torch.autograd.grad(loss, problem.leaves)
    assert worst_relative_error(inside, outside) < 8 * torch.finfo(torch.bfloat16).eps


def test_on_the_meta_device() -> None:
    """A device without autocast will do: shapes are worked out where no memory is."""
    meta = torch.device("meta")
    weights = [torch.empty(5, 4, device=meta), torch.empty(3, 5, device=meta)]
    loss = network_loss(
        torch.empty(2, 4, device=meta), torch.empty(2, 3, device=meta), weights, None, "relu", "mse"
    )
    assert loss.shape == ()


def test_on_a_gpu(gpu: torch.device) -> None:
    """On a GPU loss and gradients are the CPU's, in float64."""
    for activation in ACTIVATION_NAMES:
        for case in LOSS_CASES:
            problem = network_problem(activation, case)
            _, expected = loss_and_gradients(problem)
            there = replace(
                problem,
                x=problem.x.to(gpu),
                target=problem.target.to(gpu),
                weights=[weight.to(gpu) for weight in problem.weights],
                biases=[None if bias is None else bias.to(gpu) for bias in problem.biases],
            ).wanting_gradients()
            gradients = torch.autograd.grad(loss_of(there), there.leaves)
            assert worst_relative_error([g.cpu() for g in gradients], expected) < 1e-11


X, TARGET = torch.zeros(6, 4), torch.zeros(6, dtype=torch.long)
WEIGHTS = [torch.zeros(5, 4), torch.zeros(3, 5)]
BIASES = [torch.zeros(5), torch.zeros(3)]
MISTAKES: list[tuple[type[Exception], dict[str, Any], str]] = [
    (ValueError, {"weights": [], "biases": None}, "expected at least one layer, got no weights"),
    (
        ValueError,
        {"biases": BIASES[:1]},
        "expected one entry per layer, got 2 weights and 1 biases",
    ),
    (
        ValueError,
        {"activations": ["relu"] * 3},
        "expected one entry per layer, got 2 weights and 3 activations",
    ),
    (ValueError, {"activations": "rel"}, r"unknown activation 'rel'; did you mean 'relu'\?"),
    (ValueError, {"loss": "ce"}, r"unknown loss 'ce'; .*expected one of: cross_entropy, mse, bce"),
    (
        ValueError,
        {"x": torch.zeros(6, 7)},
        (
            r"network_loss, layer 1: expected last dimension in_features=4 for a weight of shape "
            r"\(5, 4\), got input of shape \(6, 7\)"
        ),
    ),
    (
        ValueError,
        {"weights": [torch.zeros(5, 4), torch.zeros(3, 6)]},
        (
            r"network_loss, layer 2: expected last dimension in_features=6 for a weight of shape "
            r"\(3, 6\), got input of shape \(6, 5\)"
        ),
    ),
    (
        ValueError,
        {"biases": [torch.zeros(5), torch.zeros(5)]},
        r"layer 2: expected a bias of shape \(3,\) for a weight of shape \(3, 5\), got shape",
    ),
    (
        ValueError,
        {"target": torch.zeros(5, dtype=torch.long)},
        r"expected a target of shape \(6,\) for an output of shape \(6, 3\), got \(5,\)",
    ),
    (
        ValueError,
        {"target": torch.full((6,), 3)},
        r"cross_entropy: label 3 is outside the 3 classes 0\.\.2 \(6 of 6 labels are\)",
    ),
    (
        TypeError,
        {"x": torch.zeros(6, 4, dtype=torch.float64)},
        r"layer 1: expected one dtype, got input torch\.float64 .* and weight torch\.float32 of",
    ),
    (
        TypeError,
        {"target": torch.zeros(6, dtype=torch.int32)},
        r"expected class indices of dtype torch\.int64 .*, got torch\.int32; convert with",
    ),
]


@pytest.mark.parametrize(
    ("kind", "instead", "text"),
    MISTAKES,
    ids=[
        "no-layers",
        "number-of-biases",
        "number-of-activations",
        "activation",
        "loss",
        "input",
        "second-layer",
        "bias",
        "target-shape",
        "label",
        "input-dtype",
        "target-dtype",
    ],
)
def test_mistakes_are_explained(kind: type[Exception], instead: dict[str, Any], text: str) -> None:
    """What does not fit is refused with the layer, what came, and what was expected."""
    right: dict[str, Any] = {
        "x": X,
        "target": TARGET,
        "weights": WEIGHTS,
        "biases": BIASES,
        "activations": "relu",
    }
    with pytest.raises(kind, match=text):
        network_loss(**(right | instead))


def test_trains_like_sequential() -> None:
    """Fifty steps of momentum SGD leave the weights where nn.Sequential's are."""
    problem = network_problem("gelu", "cross_entropy-indices", batch=(32,)).wanting_gradients()
    network = sequential(problem)
    parameters: list[nn.Parameter | Tensor] = list(problem.parameters)
    ours = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    theirs = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(50):
        ours.zero_grad()
        torch.autograd.backward(loss_of(problem))
        ours.step()
        theirs.zero_grad()
        torch.autograd.backward(F.cross_entropy(network(problem.x), problem.target))
        theirs.step()
    assert worst_relative_error(problem.parameters, list(network.parameters())) < 1e-9


@pytest.mark.parametrize("place", range(3))
def test_an_array_is_no_tensor(place: int) -> None:
    """Inputs, targets or weights of numpy's are told how they become tensors; dense, mean_loss and
    network_loss all ask."""
    arguments: list[Any] = [torch.zeros(2, 3), torch.tensor([0, 1]), torch.zeros(2, 3)]
    assert not is_foreign(*arguments)
    arguments[place] = arguments[place].numpy()
    with pytest.raises(TypeError, match=r"got numpy.ndarray; convert an array with torch.from_num"):
        is_foreign(*arguments)
