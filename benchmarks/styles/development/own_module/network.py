import numpy as np

from activations import d_tanh, sigmoid, tanh


class Network:
    def __init__(self, sizes):
        self.sizes = sizes
        self.weights = []
        self.biases = []
        for n_in, n_out in zip(sizes[:-1], sizes[1:]):
            self.weights.append(np.random.randn(n_in, n_out) / np.sqrt(n_in))
            self.biases.append(np.zeros((1, n_out)))

    def forward(self, X):
        self.a = [X]
        for i, (W, b) in enumerate(zip(self.weights, self.biases)):
            z = self.a[-1] @ W + b
            last = i == len(self.weights) - 1
            self.a.append(sigmoid(z) if last else tanh(z))
        return self.a[-1]

    def loss(self, X, Y):
        P = self.forward(X)
        return -np.mean(np.sum(Y * np.log(P) + (1 - Y) * np.log(1 - P), axis=1))

    def gradients(self, X, Y):
        """Gradients of the loss: two lists, first layer first."""
        P = self.forward(X)
        delta = (P - Y) / len(X)
        dW, db = [], []
        for i in range(len(self.weights) - 1, -1, -1):
            dW.insert(0, self.a[i].T @ delta)
            db.insert(0, delta.sum(axis=0, keepdims=True))
            if i > 0:
                delta = (delta @ self.weights[i].T) * d_tanh(self.a[i])
        return dW, db
