"""All parameters in one vector, so that scipy's L-BFGS can be used. Examples are columns."""
import numpy as np
from scipy.optimize import minimize


def shapes_of(n_in, n_hidden, n_out):
    return [(n_hidden, 1), (n_hidden, n_in), (n_out, 1), (n_out, n_hidden)]


def unpack(vec, n_in, n_hidden, n_out):
    pieces, at = [], 0
    for shape in shapes_of(n_in, n_hidden, n_out):
        size = shape[0] * shape[1]
        pieces.append(vec[at:at + size].reshape(shape))
        at += size
    return pieces


def pack(*pieces):
    return np.concatenate([p.flatten() for p in pieces])


def squash(a):
    return 1.0 / (1.0 + np.exp(-a))


def fun_and_jac(vec, X, T, n_hidden):
    n_in, N = X.shape
    n_out = T.shape[0]
    p, P, q, Q = unpack(vec, n_in, n_hidden, n_out)

    H = squash(P @ X + p)
    Y = Q @ H + q
    R = Y - T
    fun = np.mean(R * R)

    dY = 2.0 * R / (n_out * N)
    dq = dY.sum(1).reshape(-1, 1)
    dQ = dY @ H.T
    dA = (Q.T @ dY) * (H - H * H)
    dp = dA.sum(1).reshape(-1, 1)
    dP = dA @ X.T
    return fun, pack(dp, dP, dq, dQ)


def fit_curve(x, t, n_hidden=10):
    X, T = np.atleast_2d(x), np.atleast_2d(t)
    size = sum(r * c for r, c in shapes_of(len(X), n_hidden, len(T)))
    start = np.random.default_rng(1).standard_normal(size)
    res = minimize(fun_and_jac, start, args=(X, T, n_hidden), jac=True, method="L-BFGS-B")
    return res.x, res.fun
