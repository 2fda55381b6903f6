"""The same training step outside torch: in numpy, in JAX and in scikit-learn.

`remote.py` runs each in a process of its own; this file imports no torch.
"""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

import numpy as np
from problem import Floats, Problem


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
        for k in reversed(range(last)):
            np.matmul(deltas[k + 1], weights[k + 1], out=deltas[k])
            np.greater(activations[k + 1], 0, out=masks[k])
            deltas[k] *= masks[k]
        for k, gradient in enumerate(gradients):
            np.matmul(deltas[k].T, activations[k], out=gradient)
            np.multiply(gradient, share, out=gradient)
            weights[k] -= gradient
            biases[k] -= share * deltas[k].sum(0)
        return loss

    return OtherStep(take, lambda: parameters)


def jax_step(problem: Problem, rate: float) -> OtherStep:
    """The whole step under jax.jit, the parameters donated; steps are queued, and waited for."""
    jax = import_module("jax")
    jnp = jax.numpy

    def loss_of(parameters, x, target):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        *hidden, (weight, bias) = parameters
        for w, b in hidden:
            x = jax.nn.relu(x @ w + b)
        chosen = jax.nn.log_softmax(x @ weight + bias)[jnp.arange(len(target)), target]
        return -chosen.mean()

    def step(parameters, x, target, rate):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, target)
        return jax.tree.map(lambda p, g: p - rate * g, parameters, gradients), loss

    compiled = jax.jit(step, donate_argnums=0)
    pairs = zip(problem.start[::2], problem.start[1::2], strict=True)
    state = [[(jnp.array(w.T), jnp.array(b)) for w, b in pairs]]
    x, target = jnp.array(problem.x), jnp.array(problem.target.astype(np.int32))
    eta = jnp.float32(rate)

    def take() -> None:
        state[0], _ = compiled(state[0], x, target, eta)

    def parameters() -> list[Floats]:
        return [np.asarray(p) for w, b in state[0] for p in (w.T, b)]

    return OtherStep(take, parameters, lambda: jax.block_until_ready(state[0]))


def sklearn_step(problem: Problem, rate: float) -> OtherStep:
    """MLPClassifier.partial_fit on the whole batch: its checks and its loss are part of it."""
    network = import_module("sklearn.neural_network").MLPClassifier(
        hidden_layer_sizes=problem.sizes[1:-1],
        solver="sgd",
        alpha=0.0,
        batch_size=problem.batch,
        learning_rate_init=rate,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=False,
    )
    x, target = problem.x, problem.target
    network.partial_fit(x, target, classes=np.arange(problem.sizes[-1]))
    # It draws its own start, and its optimizer keeps these very arrays.
    for mine, weight in zip(network.coefs_, problem.start[::2], strict=True):
        mine[...] = weight.T
    for mine, bias in zip(network.intercepts_, problem.start[1::2], strict=True):
        mine[...] = bias

    def parameters() -> list[Floats]:
        pairs = zip(network.coefs_, network.intercepts_, strict=True)
        return [p for w, b in pairs for p in (w.T, b)]

    return OtherStep(lambda: network.partial_fit(x, target), parameters)


STEPS = {"numpy": numpy_step, "jax": jax_step, "sklearn": sklearn_step}
