import numpy as np


def softmax(a):
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def train(X, y, n_hidden=8, num_iterations=1000, learning_rate=0.5, seed=0, verbose=False):
    """
    Train a network with one tanh layer and a softmax on top.

    X: (samples, features), y: (samples,) with classes 0, 1, 2 ...
    Returns the dictionary of trained parameters.
    """
    np.random.seed(seed)
    n, d = X.shape
    k = int(y.max()) + 1
    W1 = np.random.randn(d, n_hidden) / np.sqrt(d)
    b1 = np.zeros((1, n_hidden))
    W2 = np.random.randn(n_hidden, k) / np.sqrt(n_hidden)
    b2 = np.zeros((1, k))
    T = np.eye(k)[y]

    for i in range(num_iterations):
        a1 = np.tanh(X.dot(W1) + b1)
        p = softmax(a1.dot(W2) + b2)
        if verbose and i % 100 == 0:
            print(i, -np.log(p[np.arange(n), y]).mean())

        delta3 = p - T
        dW2 = a1.T.dot(delta3)
        db2 = np.sum(delta3, axis=0, keepdims=True)
        delta2 = delta3.dot(W2.T) * (1 - np.power(a1, 2))
        dW1 = np.dot(X.T, delta2)
        db1 = np.sum(delta2, axis=0)

        W1 += -learning_rate / n * dW1
        b1 += -learning_rate / n * db1
        W2 += -learning_rate / n * dW2
        b2 += -learning_rate / n * db2

    return {"W1": W1, "b1": b1, "W2": W2, "b2": b2}


def predict(model, X):
    a1 = np.tanh(X.dot(model["W1"]) + model["b1"])
    return np.argmax(a1.dot(model["W2"]) + model["b2"], axis=1)
