"""Layers as objects. A batch is a matrix with one example per column."""
import numpy as np


class Affine:
    def __init__(self, n_in, n_out):
        self.weight = np.random.randn(n_out, n_in) * np.sqrt(1 / n_in)
        self.bias = np.zeros((n_out, 1))

    def forward(self, inp):
        self.inp = inp
        return self.weight @ inp + self.bias

    def backward(self, grad):
        self.weight_grad = grad @ self.inp.T
        self.bias_grad = grad.sum(axis=1, keepdims=True)
        return self.weight.T @ grad

    def update(self, lr):
        self.weight -= lr * self.weight_grad
        self.bias -= lr * self.bias_grad


class LeakyReLU:
    def __init__(self, leak=0.2):
        self.leak = leak

    def forward(self, inp):
        self.positive = inp > 0
        return np.where(self.positive, inp, self.leak * inp)

    def backward(self, grad):
        return np.where(self.positive, grad, self.leak * grad)

    def update(self, lr):
        pass


class SoftmaxLoss:
    def forward(self, logits, onehot):
        e = np.exp(logits - logits.max(axis=0, keepdims=True))
        self.prob = e / e.sum(axis=0, keepdims=True)
        self.onehot = onehot
        return -np.sum(onehot * np.log(self.prob)) / onehot.shape[1]

    def backward(self):
        return (self.prob - self.onehot) / self.onehot.shape[1]


class Classifier:
    def __init__(self, n_in, n_hidden, n_classes):
        self.stack = [Affine(n_in, n_hidden), LeakyReLU(), Affine(n_hidden, n_classes)]
        self.criterion = SoftmaxLoss()

    def train_batch(self, X, Y, lr):
        out = X
        for layer in self.stack:
            out = layer.forward(out)
        loss = self.criterion.forward(out, Y)
        grad = self.criterion.backward()
        for layer in reversed(self.stack):
            grad = layer.backward(grad)
        for layer in self.stack:
            layer.update(lr)
        return loss
