"""Regression with ReLU layers; Ws and bs are plain Python lists, rows of X are examples."""
import numpy as np


def make(layer_sizes, scale=0.5):
    pairs = list(zip(layer_sizes, layer_sizes[1:]))
    return [scale * np.random.randn(i, o) for i, o in pairs], [np.zeros((1, o)) for _, o in pairs]


def feed(Ws, bs, X):
    pre, post = [], [X]
    for k, (W, b) in enumerate(zip(Ws, bs)):
        pre.append(np.matmul(post[-1], W) + b)
        is_last = k == len(Ws) - 1
        post.append(pre[-1] if is_last else np.maximum(pre[-1], 0))
    return pre, post


def J(Ws, bs, X, Y, lam):
    m = len(X)
    guess = feed(Ws, bs, X)[1][-1]
    fit = ((guess - Y) ** 2).sum() / (2 * m)
    ridge = sum((W ** 2).sum() for W in Ws) * lam / (2 * m)
    return fit + ridge


def grad_J(Ws, bs, X, Y, lam):
    m = len(X)
    pre, post = feed(Ws, bs, X)
    gWs, gbs = [], []
    g = (post.pop() - Y) / m
    pre.pop()
    for W in reversed(Ws):
        below = post.pop()
        gWs.insert(0, np.matmul(below.T, g) + lam * W / m)
        gbs.insert(0, g.sum(axis=0, keepdims=True))
        if pre:
            g = np.matmul(g, W.T)
            g = np.where(pre.pop() > 0, g, 0)
    return gWs, gbs


def solve(Ws, bs, X, Y, lam=0.1, rate=0.01, sweeps=200):
    for _ in range(sweeps):
        gWs, gbs = grad_J(Ws, bs, X, Y, lam)
        Ws = [W - rate * gW for W, gW in zip(Ws, gWs)]
        bs = [b - rate * gb for b, gb in zip(bs, gbs)]
    return Ws, bs
