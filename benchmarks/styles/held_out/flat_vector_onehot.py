"""Softmax network of two tanh layers over a single parameter vector, for use with a line search."""
import numpy as np


def shapes(sizes):
    return list(zip(sizes[:-1], sizes[1:]))


def unflatten(w, sizes):
    """[(W, b), ...]: for every layer its matrix, then its bias."""
    out, pos = [], 0
    for fan_in, fan_out in shapes(sizes):
        W = w[pos:pos + fan_in * fan_out].reshape(fan_in, fan_out)
        pos += fan_in * fan_out
        b = w[pos:pos + fan_out]
        pos += fan_out
        out.append((W, b))
    return out


def flatten(pairs):
    return np.concatenate([np.concatenate((W.ravel(), b)) for W, b in pairs])


def value_and_grad(w, sizes, X, Y, alpha=0.0):
    """Mean cross-entropy plus alpha/2 |W|^2 (weights only). Y is one-hot."""
    layers = unflatten(w, sizes)
    n = X.shape[0]
    H = [X]
    for W, b in layers[:-1]:
        H.append(np.tanh(H[-1] @ W + b))
    W, b = layers[-1]
    Z = H[-1] @ W + b
    Z = Z - Z.max(axis=1, keepdims=True)
    logp = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
    f = -(Y * logp).sum() / n
    f += 0.5 * alpha * sum((W * W).sum() for W, _ in layers)

    g = []
    D = (np.exp(logp) - Y) / n
    for i in range(len(layers) - 1, -1, -1):
        W, b = layers[i]
        g.append((H[i].T @ D + alpha * W, D.sum(axis=0)))
        if i:
            D = (D @ W.T) * (1 - H[i] ** 2)
    return f, flatten(g[::-1])
