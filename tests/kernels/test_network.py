"""Backpropagation, line by line, against autograd through nn.Sequential."""

import pytest
import torch
from torch import Tensor

from tests.oracles import loss_and_gradients, sequential, worst_relative_error
from tests.problems import (
    ACTIVATION_NAMES,
    LOSS_CASES,
    NETWORK_RTOL,
    Problem,
    network_problem,
)
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.dense import dense_grad_x
from torchmlp.kernels.losses import loss_delta
from torchmlp.kernels.network import (
    Gradient,
    Layer,
    Pass,
    average_gradients,
    descend,
    descent_step,
    loss_of,
    run,
    scan_deltas,
)


def layers_of(problem: Problem) -> list[Layer]:
    return [
        Layer(*triple)
        for triple in zip(problem.weights, problem.biases, problem.activations, strict=True)
    ]


def backpropagate(problem: Problem) -> tuple[Tensor, Tensor, list[Gradient]]:
    """The loss, the gradient of x and the gradients of the layers."""
    layers = layers_of(problem)
    passed = run(problem.x, layers)
    deltas = scan_deltas(loss_delta(passed.a[-1], problem.target, problem.loss), passed, layers)
    rows = max(problem.x.shape[:-1].numel(), 1)
    return (
        loss_of(passed, problem.target, problem.loss),
        dense_grad_x(deltas[0], layers[0].weight) / rows,
        average_gradients(deltas, passed, layers),
    )


def flat(gradients: list[Gradient]) -> list[Tensor]:
    return [tensor for gradient in gradients for tensor in gradient if tensor is not None]


@pytest.mark.parametrize("case", LOSS_CASES)
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_gradients_are_autograds(activation: str, case: str) -> None:
    """Loss and every gradient equal autograd's through nn.Sequential to 1e-12."""
    problem = network_problem(activation, case)
    value, expected = loss_and_gradients(problem)
    loss, grad_x, gradients = backpropagate(problem)
    actual = [grad_x, *flat(gradients)]
    assert worst_relative_error([loss], [value]) < NETWORK_RTOL
    assert worst_relative_error(actual, expected[: len(actual)]) < NETWORK_RTOL


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("widths", [(4, 3), (4, 1, 3), (1, 5, 3), (4, 6, 6, 6, 3)], ids=str)
@pytest.mark.parametrize("batch", [(), (1,), (7,), (2, 3)], ids=str)
def test_any_network(batch: tuple[int, ...], widths: tuple[int, ...], bias: bool) -> None:
    """Any depth and width, any number of batch axes, with and without biases."""
    problem = network_problem(
        "tanh",
        "cross_entropy-indices",
        batch=batch,
        widths=widths,
        bias=bias,
        output_activation="identity",
    )
    value, expected = loss_and_gradients(problem)
    loss, grad_x, gradients = backpropagate(problem)
    assert worst_relative_error([loss], [value]) < NETWORK_RTOL
    assert worst_relative_error([grad_x, *flat(gradients)], expected) < NETWORK_RTOL
    assert all((gradient.bias is None) == (not bias) for gradient in gradients)


def test_run_keeps_every_layer() -> None:
    """a[0] is the input, a[l] = φ(z[l - 1]), and a[-1] is what nn.Sequential answers."""
    problem = network_problem("gelu", "mse")
    layers = layers_of(problem)
    a, z = run(problem.x, layers)
    assert a[0] is problem.x
    assert len(a) == len(z) + 1 == len(layers) + 1
    for k, layer in enumerate(layers):
        assert torch.equal(a[k + 1], ACTIVATIONS[layer.activation].value(z[k]))
    torch.testing.assert_close(a[-1], sequential(problem)(problem.x), rtol=1e-13, atol=1e-13)


def test_deltas_are_per_sample() -> None:
    """A sample's deltas do not depend on the batch it stands in: nothing is divided by B."""
    problem = network_problem("tanh", "cross_entropy-indices")
    layers = layers_of(problem)

    def deltas_of(x: Tensor, target: Tensor) -> list[Tensor]:
        passed = run(x, layers)
        return scan_deltas(loss_delta(passed.a[-1], target, problem.loss), passed, layers)

    whole = deltas_of(problem.x, problem.target)
    for n in range(len(problem.x)):
        alone = deltas_of(problem.x[n], problem.target[n])
        assert worst_relative_error(alone, [delta[n] for delta in whole]) < NETWORK_RTOL


@pytest.mark.parametrize("first", [0, 1, 2])
def test_scan_stops_where_it_is_told(first: int) -> None:
    """With `first`, the deltas of layers[first:] and no others."""
    problem = network_problem("silu", "mse")
    layers = layers_of(problem)
    passed = run(problem.x, layers)
    output_delta = loss_delta(passed.a[-1], problem.target, problem.loss)
    whole = scan_deltas(output_delta, passed, layers)
    part = scan_deltas(output_delta, passed, layers, first)
    assert len(whole) == len(layers)
    assert worst_relative_error(part, whole[first:]) == 0


def test_part_of_the_deltas_is_no_gradient() -> None:
    """Deltas of some layers are not taken for the deltas of the first ones."""
    problem = network_problem("tanh", "mse", widths=(5, 5, 5, 5))
    layers = layers_of(problem)
    passed = run(problem.x, layers)
    deltas = scan_deltas(passed.a[-1] - problem.target, passed, layers, first=1)
    with pytest.raises(ValueError, match="zip"):
        average_gradients(deltas, passed, layers)


def test_zero_rows() -> None:
    """A batch of nothing has gradients of zeros."""
    problem = network_problem("relu", "cross_entropy-indices", batch=(0,))
    _, grad_x, gradients = backpropagate(problem)
    assert grad_x.shape == problem.x.shape
    assert all((gradient == 0).all() for gradient in flat(gradients))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_descend_is_sgd(bias: bool) -> None:
    """One step is torch.optim.SGD's: W − η ∂E/∂W, b − η ∂E/∂b."""
    problem = network_problem("tanh", "cross_entropy-indices", bias=bias)
    network = sequential(problem)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.3)
    loss = torch.nn.functional.cross_entropy(network(problem.x), problem.target)
    torch.autograd.backward(loss)
    optimizer.step()
    after = descent_step(layers_of(problem), problem.x, problem.target, problem.loss, rate=0.3)
    actual = [tensor for layer in after for tensor in layer[:2] if tensor is not None]
    assert worst_relative_error(actual, list(network.parameters())) < NETWORK_RTOL
    assert [layer.activation for layer in after] == problem.activations


def test_descend_leaves_its_layers_alone() -> None:
    """The step answers new layers; the old ones are as they were."""
    problem = network_problem("tanh", "mse")
    before = [tensor.clone() for tensor in problem.parameters]
    layers = layers_of(problem)
    ones = [
        Gradient(torch.ones_like(layer.weight), torch.ones_like(layer.weight[:, 0]))
        for layer in layers
    ]
    after = descend(layers, ones, rate=2.0)
    assert all(
        torch.equal(new.weight, old.weight - 2) for new, old in zip(after, layers, strict=True)
    )
    assert all(torch.equal(a, b) for a, b in zip(problem.parameters, before, strict=True))


def test_overfits_one_batch() -> None:
    """Steps on one batch drive its loss to nearly zero."""
    problem = network_problem(
        "tanh", "cross_entropy-indices", widths=(4, 16, 3), output_activation="identity"
    )
    layers = layers_of(problem)
    for _ in range(400):
        layers = descent_step(layers, problem.x, problem.target, problem.loss, rate=0.5)
    assert loss_of(run(problem.x, layers), problem.target, problem.loss) < 0.01


def test_run_takes_another_equation() -> None:
    """`forward` replaces the equation of one layer."""

    def doubled(
        x: Tensor, weight: Tensor, bias: Tensor | None, activation: str
    ) -> tuple[Tensor, Tensor]:
        assert activation == "identity"
        assert bias is None
        return 2 * x @ weight.t(), x

    assert isinstance(run(torch.ones(2), [Layer(torch.eye(2), None)]), Pass)
    passed = run(torch.ones(2), [Layer(torch.eye(2), None)] * 2, doubled)
    assert passed.a[-1].tolist() == [4.0, 4.0]
