import numpy as np


def leaky(x):
    return np.maximum(0.1 * x, x)


def leaky_slope(x):
    s = np.ones_like(x)
    s[x < 0] = 0.1
    return s


def logistic(x):
    return 1 / (1 + np.exp(-x))


def nll_and_grads(W, b, v, c, X, y):
    """
    Two-class network: p = logistic(leaky(X W + b) . v + c)

    W is (d, k), b is (k,), v is (k,), c is a number (or an array of one number),
    X is (n, d) and y is (n,) with zeros and ones.
    Returns the average negative log-likelihood and its gradients.
    """
    n = y.shape[0]
    pre = X.dot(W) + b
    act = leaky(pre)
    p = logistic(act.dot(v) + c)
    nll = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    r = (p - y) / n                      # (n,)
    grad_v = act.T.dot(r)
    grad_c = np.sum(r)
    back = np.outer(r, v) * leaky_slope(pre)      # (n, k)
    grad_W = X.T.dot(back)
    grad_b = np.sum(back, axis=0)
    return nll, grad_W, grad_b, grad_v, grad_c


def descend(X, y, k=8, alpha=0.3, n_iter=1000, seed=0):
    rng = np.random.RandomState(seed)
    W, b = rng.randn(X.shape[1], k) / np.sqrt(X.shape[1]), np.zeros(k)
    v, c = rng.randn(k) / np.sqrt(k), 0.0
    for it in range(n_iter):
        nll, gW, gb, gv, gc = nll_and_grads(W, b, v, c, X, y)
        W, b, v, c = W - alpha * gW, b - alpha * gb, v - alpha * gv, c - alpha * gc
    return W, b, v, c
