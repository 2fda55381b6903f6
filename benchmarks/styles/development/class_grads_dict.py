import numpy as np


class MLP:
    """tanh hidden layer, one linear output. forward, then backward, then step."""

    def __init__(self, n_in, n_hidden, seed=0):
        rng = np.random.default_rng(seed)
        self.params = {
            "W1": rng.normal(0, 1 / np.sqrt(n_in), (n_in, n_hidden)),
            "b1": np.zeros(n_hidden),
            "W2": rng.normal(0, 1 / np.sqrt(n_hidden), (n_hidden, 1)),
            "b2": np.zeros(1),
        }
        self.grads = {k: np.zeros_like(v) for k, v in self.params.items()}

    def zero_grad(self):
        for k in self.grads:
            self.grads[k] = np.zeros_like(self.params[k])

    def forward(self, X):
        p = self.params
        self.X = X
        self.H = np.tanh(X @ p["W1"] + p["b1"])
        self.out = self.H @ p["W2"] + p["b2"]
        return self.out

    def loss(self, X, y):
        return np.mean((self.forward(X)[:, 0] - y) ** 2)

    def backward(self, y):
        """y has shape (n,). Fills self.grads."""
        self.zero_grad()
        n = len(y)
        d_out = 2 * (self.out - y[:, None]) / n
        self.grads["W2"] += self.H.T @ d_out
        self.grads["b2"] += d_out.sum(0)
        d_pre = (d_out @ self.params["W2"].T) * (1 - self.H * self.H)
        self.grads["W1"] += self.X.T @ d_pre
        self.grads["b1"] += d_pre.sum(0)

    def step(self, lr):
        for k in self.params:
            self.params[k] -= lr * self.grads[k]
