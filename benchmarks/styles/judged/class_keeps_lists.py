import numpy as np


class SigmoidStack:
    """Sigmoid layers all the way, trained on half the squared error per example.

    Layer k computes sigmoid(h @ W[k].T + b[k]), i.e. W[k] has one row per unit.
    """

    def __init__(self, *widths, rng=None):
        rng = rng or np.random.default_rng()
        self.W = []
        self.b = []
        for before, after in zip(widths[:-1], widths[1:]):
            self.W.append(rng.uniform(-1, 1, size=(after, before)))
            self.b.append(rng.uniform(-1, 1, size=after))
        self.grad_W = [None] * len(self.W)
        self.grad_b = [None] * len(self.b)

    def predict(self, X):
        self.h = [X]
        for W, b in zip(self.W, self.b):
            X = 1 / (1 + np.exp(-(X @ W.T + b)))
            self.h.append(X)
        return X

    def error(self, X, Y):
        diff = self.predict(X) - Y
        return 0.5 * np.mean(np.sum(diff ** 2, axis=1))

    def compute_gradients(self, X, Y):
        out = self.predict(X)
        upstream = (out - Y) / len(X)
        for k in reversed(range(len(self.W))):
            local = upstream * self.h[k + 1] * (1 - self.h[k + 1])
            self.grad_W[k] = local.T @ self.h[k]
            self.grad_b[k] = local.sum(axis=0)
            upstream = local @ self.W[k]

    def step(self, lr):
        for k in range(len(self.W)):
            self.W[k] -= lr * self.grad_W[k]
            self.b[k] -= lr * self.grad_b[k]

    def train(self, X, Y, lr=1.0, iterations=1000):
        for it in range(iterations):
            self.compute_gradients(X, Y)
            self.step(lr)
            if it % 100 == 0:
                print(it, self.error(X, Y))
