"""L-layer network. Samples are columns, parameters live in one dictionary."""
from __future__ import annotations

import numpy as np


def init_params(layer_dims: list[int], seed: int = 0) -> dict[str, np.ndarray]:
    """He initialisation for every layer."""
    rng = np.random.default_rng(seed)
    params = {}
    for l in range(1, len(layer_dims)):
        params[f"W{l}"] = rng.standard_normal((layer_dims[l], layer_dims[l - 1])) * np.sqrt(2 / layer_dims[l - 1])
        params[f"b{l}"] = np.zeros((layer_dims[l], 1))
    return params


def softmax(Z: np.ndarray) -> np.ndarray:
    E = np.exp(Z - Z.max(axis=0, keepdims=True))
    return E / E.sum(axis=0, keepdims=True)


def forward(X: np.ndarray, params: dict[str, np.ndarray]):
    """Return the class probabilities and everything that backward needs."""
    L = len(params) // 2
    cache = {"A0": X}
    for l in range(1, L + 1):
        cache[f"Z{l}"] = params[f"W{l}"] @ cache[f"A{l-1}"] + params[f"b{l}"]
        if l < L:
            cache[f"A{l}"] = np.maximum(cache[f"Z{l}"], 0.0)
        else:
            cache[f"A{l}"] = softmax(cache[f"Z{l}"])
    return cache[f"A{L}"], cache


def cost(AL: np.ndarray, Y: np.ndarray) -> float:
    """Cross-entropy; Y is one-hot, one column per sample."""
    m = Y.shape[1]
    return float(-np.sum(Y * np.log(AL + 1e-12)) / m)


def backward(params: dict[str, np.ndarray], cache: dict[str, np.ndarray], Y: np.ndarray):
    """Gradients of the cost with respect to every parameter."""
    L = len(params) // 2
    m = Y.shape[1]
    grads = {}
    dZ = cache[f"A{L}"] - Y
    for l in range(L, 0, -1):
        grads[f"dW{l}"] = dZ @ cache[f"A{l-1}"].T / m
        grads[f"db{l}"] = dZ.sum(axis=1, keepdims=True) / m
        if l > 1:
            dA = params[f"W{l}"].T @ dZ
            dZ = dA * (cache[f"Z{l-1}"] > 0)
    return grads


def step(params, grads, alpha):
    for key in params:
        params[key] = params[key] - alpha * grads["d" + key]
    return params
