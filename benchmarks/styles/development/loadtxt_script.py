import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import StandardScaler

np.random.seed(42)
LEARNING_RATE = 0.01
HIDDEN = 16

data = np.loadtxt("data/housing.csv", delimiter=",", skiprows=1)
X = StandardScaler().fit_transform(data[:, :-1])
y = data[:, -1:]

w1 = np.random.randn(X.shape[1], HIDDEN) * 0.1
b1 = np.zeros((1, HIDDEN))
w2 = np.random.randn(HIDDEN, 1) * 0.1
b2 = np.zeros((1, 1))


def relu(z):
    return np.where(z > 0, z, 0)


def relu_derivative(z):
    return np.where(z > 0, 1, 0)


def forward(X, w1, b1, w2, b2):
    z1 = np.matmul(X, w1) + b1
    a1 = relu(z1)
    z2 = np.matmul(a1, w2) + b2
    return z1, a1, z2


def mse(y_hat, y):
    return np.sum((y_hat - y) ** 2) / (2 * len(y))


def backward(X, y, w1, b1, w2, b2):
    n = X.shape[0]
    z1, a1, z2 = forward(X, w1, b1, w2, b2)
    dz2 = (z2 - y) / n
    dw2 = np.matmul(a1.T, dz2)
    db2 = np.sum(dz2, axis=0, keepdims=True)
    da1 = np.matmul(dz2, w2.T)
    dz1 = da1 * relu_derivative(z1)
    dw1 = np.matmul(X.T, dz1)
    db1 = np.sum(dz1, axis=0, keepdims=True)
    return dw1, db1, dw2, db2


losses = []
for epoch in range(2000):
    dw1, db1, dw2, db2 = backward(X, y, w1, b1, w2, b2)
    w1 -= LEARNING_RATE * dw1
    b1 -= LEARNING_RATE * db1
    w2 -= LEARNING_RATE * dw2
    b2 -= LEARNING_RATE * db2
    losses.append(mse(forward(X, w1, b1, w2, b2)[-1], y))
    if epoch % 100 == 0:
        print(epoch, losses[-1])

plt.plot(losses)
plt.xlabel("epoch")
plt.show()
