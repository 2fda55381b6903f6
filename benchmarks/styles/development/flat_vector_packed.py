"""Everything in one vector theta = [W1 | b1 | W2 | b2], so that any optimiser can be used on it."""
import numpy as np


def unpack(theta, n_in, n_hidden, n_out):
    i = n_in * n_hidden
    W1 = theta[:i].reshape(n_in, n_hidden)
    b1 = theta[i:i + n_hidden]
    i += n_hidden
    W2 = theta[i:i + n_hidden * n_out].reshape(n_hidden, n_out)
    b2 = theta[i + n_hidden * n_out:]
    return W1, b1, W2, b2


def objective(theta, n_in, n_hidden, n_out, X, T):
    """Half the sum of squares per sample, averaged over the samples, and its gradient."""
    W1, b1, W2, b2 = unpack(theta, n_in, n_hidden, n_out)
    N = len(X)

    hid = np.tanh(np.dot(X, W1) + b1)
    pred = np.dot(hid, W2) + b2
    diff = pred - T
    value = 0.5 * np.sum(diff * diff) / N

    d_pred = diff / N
    g_W2 = np.dot(hid.T, d_pred)
    g_b2 = np.sum(d_pred, axis=0)
    d_hid = np.dot(d_pred, W2.T) * (1 - hid ** 2)
    g_W1 = np.dot(X.T, d_hid)
    g_b1 = np.sum(d_hid, axis=0)
    return value, np.concatenate([g_W1.ravel(), g_b1, g_W2.ravel(), g_b2])


def descend(theta, n_in, n_hidden, n_out, X, T, rate=0.1, steps=500):
    for _ in range(steps):
        value, grad = objective(theta, n_in, n_hidden, n_out, X, T)
        theta = theta - rate * grad
    return theta, value
