import numpy as np
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits


class NeuralNetwork:
    def __init__(self, sizes, lr=0.5):
        self.lr = lr
        self.weights = [np.random.randn(a, b) / np.sqrt(a) for a, b in zip(sizes, sizes[1:])]
        self.biases = [np.zeros((1, b)) for b in sizes[1:]]

    def forward(self, X):
        self.A = [X]
        for W, b in zip(self.weights, self.biases):
            self.A.append(np.tanh(self.A[-1] @ W + b))
        return self.A[-1]

    def train_step(self, X, Y):
        out = self.forward(X)
        delta = (out - Y) * (1 - out ** 2)
        for l in reversed(range(len(self.weights))):
            self.weights[l] -= self.lr * self.A[l].T @ delta / len(X)
            self.biases[l] -= self.lr * delta.mean(0, keepdims=True)
            delta = delta @ self.weights[l].T * (1 - self.A[l])
        return 0.5 * ((out - Y) ** 2).sum() / len(X)


X, y = load_digits(return_X_y=True)
net = NeuralNetwork([64, 32, 10])
for epoch in range(1000):
    net.train_step(X / 16, np.eye(10)[y])
plt.plot([1, 2])
