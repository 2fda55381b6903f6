import numpy as np


def make_network(layer_sizes):
    weights = []
    biases = []
    for i in range(1, len(layer_sizes)):
        weights.append(np.random.uniform(-1, 1, (layer_sizes[i], layer_sizes[i - 1])))
        biases.append(np.random.uniform(-1, 1, (layer_sizes[i], 1)))
    return weights, biases


def run(weights, biases, x):
    """All activations, the input first. Every column of x is one example."""
    outputs = [x]
    for w, b in zip(weights, biases):
        x = np.tanh(np.matmul(w, x) + b)
        outputs.append(x)
    return outputs


def error(weights, biases, x, y):
    out = run(weights, biases, x)[-1]
    return 0.5 * np.sum((out - y) ** 2) / x.shape[1]


def gradient(weights, biases, x, y):
    n = x.shape[1]
    outputs = run(weights, biases, x)
    grad_w = [np.zeros_like(w) for w in weights]
    grad_b = [np.zeros_like(b) for b in biases]
    delta = (outputs[-1] - y) * (1 - outputs[-1] ** 2)
    for i in range(len(weights) - 1, -1, -1):
        grad_w[i] = np.matmul(delta, outputs[i].T) / n
        grad_b[i] = np.mean(delta, axis=1, keepdims=True)
        delta = np.matmul(weights[i].T, delta) * (1 - outputs[i] ** 2)
    return grad_w, grad_b
