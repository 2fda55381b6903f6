"""The same training step outside torch: in numpy, in JAX and in scikit-learn.

`remote.py` runs each in a process of its own; this file imports no torch.
"""

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from problem import Floats, Problem

# Of a fit of a small table.
EPOCHS, BATCH = 10, 200


class OtherStep(NamedTuple):
    """A step; `wait` returns once those that were taken have ended."""

    take: Callable[[], object]
    parameters: Callable[[], list[Floats]]
    wait: Callable[[], object] = lambda: None


def numpy_step(problem: Problem, rate: float) -> OtherStep:
    """Written by hand, into arrays that are kept; averaged in the rate."""
    x, target = problem.x, problem.target
    parameters = [array.copy() for array in problem.start]
    weights, biases = parameters[::2], parameters[1::2]
    rows = np.arange(problem.batch)
    activations = [x, *(np.empty((problem.batch, len(b)), np.float32) for b in biases)]
    deltas = [np.empty_like(a) for a in activations[1:]]
    masks = [np.empty(a.shape, bool) for a in activations[1:]]
    gradients = [np.empty_like(w) for w in weights]
    last = len(weights) - 1
    share = np.float32(rate / problem.batch)
    adam = NumpyAdam(parameters, rate) if problem.optimizer == "adam" else None

    def take() -> np.float32:
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            z = np.matmul(activations[k], weight.T, out=activations[k + 1])
            z += bias
            if k < last:
                np.maximum(z, 0, out=z)
        delta, logits = deltas[last], activations[-1]
        logits -= logits.max(1, keepdims=True)
        np.exp(logits, out=delta)
        total = delta.sum(1, keepdims=True)
        loss: np.float32 = (np.log(total[:, 0]) - logits[rows, target]).mean()
        delta /= total
        delta[rows, target] -= 1
        if adam:
            delta /= problem.batch
            adam.begin()
        for k in reversed(range(last)):
            np.matmul(deltas[k + 1], weights[k + 1], out=deltas[k])
            np.greater(activations[k + 1], 0, out=masks[k])
            deltas[k] *= masks[k]
        for k, gradient in enumerate(gradients):
            np.matmul(deltas[k].T, activations[k], out=gradient)
            if adam:
                adam.update(2 * k, gradient)
                adam.update(2 * k + 1, deltas[k].sum(0))
                continue
            np.multiply(gradient, share, out=gradient)
            weights[k] -= gradient
            biases[k] -= share * deltas[k].sum(0)
        return loss

    return OtherStep(take, lambda: parameters)


class NumpyAdam:
    """Adam into arrays that are kept."""

    def __init__(self, parameters: list[Floats], rate: float) -> None:
        self.parameters, self.rate, self.steps = parameters, rate, 0
        self.means = [np.zeros_like(p) for p in parameters]
        self.squares = [np.zeros_like(p) for p in parameters]
        self.spare = [np.empty_like(p) for p in parameters]

    def begin(self) -> None:
        """Count the step."""
        self.steps += 1
        self.length = np.float32(self.rate / (1 - 0.9**self.steps))
        self.root = np.float32(1 / np.sqrt(1 - 0.999**self.steps))

    def update(self, k: int, gradient: Floats) -> None:
        """Of the k-th parameter."""
        mean, square, spare = self.means[k], self.squares[k], self.spare[k]
        mean *= np.float32(0.9)
        mean += np.multiply(gradient, np.float32(0.1), out=spare)
        square *= np.float32(0.999)
        np.multiply(gradient, gradient, out=spare)
        square += np.multiply(spare, np.float32(0.001), out=spare)
        np.sqrt(square, out=spare)
        spare *= self.root
        spare += np.float32(1e-8)
        np.divide(mean, spare, out=spare)
        spare *= self.length
        self.parameters[k] -= spare


def jax_step(problem: Problem, rate: float) -> OtherStep:
    """The whole step under jax.jit, its state donated; steps are queued, and waited for."""
    jax = import_module("jax")
    adam = import_module("optax").adam if problem.optimizer == "adam" else None
    jnp = jax.numpy

    def loss_of(parameters, x, target):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        *hidden, (weight, bias) = parameters
        for w, b in hidden:
            x = jax.nn.relu(x @ w + b)
        chosen = jax.nn.log_softmax(x @ weight + bias)[jnp.arange(len(target)), target]
        return -chosen.mean()

    def step(state, x, target, rate):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        parameters, moments = state
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, target)
        if adam:
            changes, moments = adam(rate).update(gradients, moments)
        else:
            changes = jax.tree.map(lambda g: -rate * g, gradients)
        return (jax.tree.map(lambda p, c: p + c, parameters, changes), moments), loss

    compiled = jax.jit(step, donate_argnums=0)
    pairs = zip(problem.start[::2], problem.start[1::2], strict=True)
    start = [(jnp.array(w.T), jnp.array(b)) for w, b in pairs]
    state = [(start, adam(rate).init(start) if adam else None)]
    x, target = jnp.array(problem.x), jnp.array(problem.target.astype(np.int32))
    eta = jnp.float32(rate)

    def take() -> None:
        state[0], _ = compiled(state[0], x, target, eta)

    def parameters() -> list[Floats]:
        return [np.asarray(p) for w, b in state[0][0] for p in (w.T, b)]

    return OtherStep(take, parameters, lambda: jax.block_until_ready(state[0]))


def sklearn_step(problem: Problem, rate: float) -> OtherStep:
    """MLPClassifier.partial_fit on the whole batch: its checks and its loss are part of it."""
    adam = problem.optimizer == "adam"
    network = import_module("sklearn.neural_network").MLPClassifier(
        hidden_layer_sizes=problem.sizes[1:-1],
        solver=problem.optimizer,
        alpha=0.0,
        batch_size=problem.batch,
        learning_rate_init=rate,
        # It is added before the root is corrected: so it is torch's 1e-8 in the steps checked.
        epsilon=1e-8 * (1 - 0.999**2) ** 0.5,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=False,
    )
    x, target = problem.x, problem.target
    network.partial_fit(x, target, classes=np.arange(problem.sizes[-1]))
    if adam:  # it has taken a step
        optimizer = network._optimizer  # noqa: SLF001  no public name
        optimizer.t = 0
        for moment in (*optimizer.ms, *optimizer.vs):
            moment[...] = 0
    # It draws its own start, and its optimizer keeps these very arrays.
    for mine, weight in zip(network.coefs_, problem.start[::2], strict=True):
        mine[...] = weight.T
    for mine, bias in zip(network.intercepts_, problem.start[1::2], strict=True):
        mine[...] = bias

    return OtherStep(lambda: network.partial_fit(x, target), lambda: _parameters(network))


def sklearn_fit(problem: Problem, rate: float) -> OtherStep:
    """Ten epochs of MLPClassifier over a small table, which is its batch; a call is a whole fit."""
    make = import_module("sklearn.neural_network").MLPClassifier
    warnings.filterwarnings("ignore", "Stochastic Optimizer: Maximum iterations")
    x, target = learnable_table(problem)
    fitted: list[Any] = []

    def take() -> None:
        network = make(
            problem.sizes[1:-1], solver=problem.optimizer, batch_size=BATCH,
            learning_rate_init=rate, max_iter=EPOCHS, alpha=0.0,
        )  # fmt: skip
        fitted[:] = [network.fit(x, target)]

    return OtherStep(take, lambda: _parameters(fitted[0]))


def learnable_table(problem: Problem) -> tuple[Floats, NDArray[np.int64]]:
    """Normal numbers (B, fan_in), and which of the first few is the largest (B,)."""
    x = np.random.default_rng(3).standard_normal((problem.batch, problem.sizes[0]), np.float32)
    return x, x[:, : problem.sizes[-1]].argmax(1)


def _parameters(network: Any) -> list[Floats]:
    """W_1, b_1, ... of scikit-learn's network."""
    pairs = zip(network.coefs_, network.intercepts_, strict=True)
    return [p for w, b in pairs for p in (w.T, b)]


STEPS = {"numpy": numpy_step, "jax": jax_step, "sklearn": sklearn_step, "sklearn fit": sklearn_fit}
