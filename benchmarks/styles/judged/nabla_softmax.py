# Stochastic gradient descent, one column vector at a time, relu hidden layers and a softmax on top
import random
import numpy as np


def relu(z):
    return np.maximum(z, 0.0)


def softmax(z):
    t = np.exp(z - np.max(z))
    return t / np.sum(t)


class Net:

    def __init__(self, sizes):
        self.L = len(sizes)
        self.b = [np.random.randn(n, 1) for n in sizes[1:]]
        self.w = [np.random.randn(n, k) / np.sqrt(k) for k, n in zip(sizes[:-1], sizes[1:])]

    def output(self, a):
        for b, w in zip(self.b[:-1], self.w[:-1]):
            a = relu(w @ a + b)
        return softmax(self.w[-1] @ a + self.b[-1])

    def log_loss(self, data):
        return -sum(np.sum(y * np.log(self.output(x))) for x, y in data) / len(data)

    def backprop(self, x, y):
        nabla_b = [None] * (self.L - 1)
        nabla_w = [None] * (self.L - 1)
        a = [x]
        for b, w in zip(self.b[:-1], self.w[:-1]):
            a.append(relu(w @ a[-1] + b))
        p = softmax(self.w[-1] @ a[-1] + self.b[-1])
        delta = p - y
        for j in range(self.L - 2, -1, -1):
            nabla_b[j] = delta
            nabla_w[j] = delta @ a[j].T
            if j > 0:
                delta = (self.w[j].T @ delta) * np.sign(a[j])
        return nabla_b, nabla_w

    def learn_batch(self, batch, eta):
        sum_b = [np.zeros_like(b) for b in self.b]
        sum_w = [np.zeros_like(w) for w in self.w]
        for x, y in batch:
            nabla_b, nabla_w = self.backprop(x, y)
            sum_b = [s + n for s, n in zip(sum_b, nabla_b)]
            sum_w = [s + n for s, n in zip(sum_w, nabla_w)]
        self.b = [b - eta / len(batch) * s for b, s in zip(self.b, sum_b)]
        self.w = [w - eta / len(batch) * s for w, s in zip(self.w, sum_w)]

    def sgd(self, data, epochs, size, eta):
        for epoch in range(epochs):
            random.shuffle(data)
            for k in range(0, len(data), size):
                self.learn_batch(data[k:k + size], eta)
            print("epoch", epoch, "log loss", self.log_loss(data))
