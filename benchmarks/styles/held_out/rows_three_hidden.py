"""Three hidden layers, regression. The gradient function returns gradients and nothing else."""
from typing import Dict

import numpy as np

Params = Dict[str, np.ndarray]


def create(n_in: int, n_hidden: int, n_out: int, rng=np.random) -> Params:
    shapes = [(n_in, n_hidden), (n_hidden, n_hidden), (n_hidden, n_hidden), (n_hidden, n_out)]
    p: Params = {}
    for k, (rows, cols) in enumerate(shapes, start=1):
        p[f"W{k}"] = rng.normal(0.0, np.sqrt(2.0 / rows), (rows, cols))
        p[f"b{k}"] = np.zeros((1, cols))
    return p


def forward(p: Params, X: np.ndarray) -> Dict[str, np.ndarray]:
    s = {"h0": X}
    for k in (1, 2, 3):
        s[f"z{k}"] = s[f"h{k - 1}"] @ p[f"W{k}"] + p[f"b{k}"]
        s[f"h{k}"] = np.where(s[f"z{k}"] > 0, s[f"z{k}"], 0.0)
    s["out"] = s["h3"] @ p["W4"] + p["b4"]
    return s


def mse(p: Params, X: np.ndarray, T: np.ndarray) -> float:
    return float(np.mean((forward(p, X)["out"] - T) ** 2))


def gradients(p: Params, X: np.ndarray, T: np.ndarray) -> Params:
    """d mse / d parameter, for each parameter."""
    s = forward(p, X)
    g: Params = {}
    delta = 2.0 * (s["out"] - T) / T.size
    for k in (4, 3, 2, 1):
        g[f"W{k}"] = s[f"h{k - 1}"].T @ delta
        g[f"b{k}"] = delta.sum(axis=0, keepdims=True)
        if k > 1:
            delta = np.where(s[f"z{k - 1}"] > 0, delta @ p[f"W{k}"].T, 0.0)
    return g


def descend(p: Params, X: np.ndarray, T: np.ndarray, eta: float = 0.01, epochs: int = 100) -> Params:
    for _ in range(epochs):
        g = gradients(p, X, T)
        p = {name: value - eta * g[name] for name, value in p.items()}
    return p
