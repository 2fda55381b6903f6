"""Regression with one hidden layer of softplus units; everything is passed in, nothing is kept."""
import numpy as np


def softplus(z):
    return np.logaddexp(0.0, z)


def d_softplus(z):
    return 1.0 / (1.0 + np.exp(-z))


def backprop(x, y, W1, b1, W2, b2):
    """Return the loss and the gradients (dW1, db1, dW2, db2). Rows of x and y are samples."""
    z1 = x.dot(W1) + b1
    h = softplus(z1)
    out = h.dot(W2) + b2
    err = out - y
    loss = np.mean(err ** 2)

    dout = 2.0 * err / err.size
    dW2 = h.T.dot(dout)
    db2 = dout.sum(axis=0)
    dh = dout.dot(W2.T)
    dz1 = dh * d_softplus(z1)
    dW1 = x.T.dot(dz1)
    db1 = dz1.sum(axis=0)
    return loss, dW1, db1, dW2, db2


if __name__ == "__main__":
    rng = np.random.RandomState(1)
    x = np.linspace(-3, 3, 60).reshape(-1, 1)
    y = np.sin(x)
    W1, b1 = rng.randn(1, 20), np.zeros(20)
    W2, b2 = rng.randn(20, 1) * 0.1, np.zeros(1)
    for epoch in range(2000):
        loss, dW1, db1, dW2, db2 = backprop(x, y, W1, b1, W2, b2)
        W1 -= 0.05 * dW1; b1 -= 0.05 * db1
        W2 -= 0.05 * dW2; b2 -= 0.05 * db2
    print(loss)
