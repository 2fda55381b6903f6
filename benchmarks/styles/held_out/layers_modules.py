"""A tiny framework: modules with forward, backward and accumulated gradients."""
import numpy as np


class Module:
    def params(self):
        return []

    def zero_grad(self):
        pass


class Linear(Module):
    def __init__(self, fan_in, fan_out):
        bound = 1 / np.sqrt(fan_in)
        self.W = np.random.uniform(-bound, bound, (fan_out, fan_in))
        self.b = np.random.uniform(-bound, bound, fan_out)
        self.zero_grad()

    def zero_grad(self):
        self.dW = np.zeros_like(self.W)
        self.db = np.zeros_like(self.b)

    def forward(self, x):
        self.x = x
        return x @ self.W.T + self.b

    def backward(self, dy):
        self.dW += dy.T @ self.x
        self.db += dy.sum(axis=0)
        return dy @ self.W

    def params(self):
        return [(self.W, self.dW), (self.b, self.db)]


class Sigmoid(Module):
    def forward(self, x):
        self.y = 1 / (1 + np.exp(-x))
        return self.y

    def backward(self, dy):
        return dy * self.y * (1 - self.y)


class MSELoss:
    def forward(self, pred, target):
        self.diff = pred - target
        return np.mean(self.diff ** 2)

    def backward(self):
        return 2 * self.diff / self.diff.size


class Sequential(Module):
    def __init__(self, *modules):
        self.modules = list(modules)

    def forward(self, x):
        for m in self.modules:
            x = m.forward(x)
        return x

    def backward(self, dy):
        for m in self.modules[::-1]:
            dy = m.backward(dy)
        return dy

    def zero_grad(self):
        for m in self.modules:
            m.zero_grad()

    def params(self):
        return [p for m in self.modules for p in m.params()]


def train_step(model, criterion, x, y, lr=0.1):
    """One step of gradient descent; returns the loss before the step."""
    model.zero_grad()
    loss = criterion.forward(model.forward(x), y)
    model.backward(criterion.backward())
    for p, g in model.params():
        p -= lr * g
    return loss


def build(n_in=4, n_hidden=5, n_out=3):
    return Sequential(Linear(n_in, n_hidden), Sigmoid(), Linear(n_hidden, n_out))
