import numpy as np
import matplotlib.pyplot as plt
from tensorflow.keras.datasets import mnist
from tensorflow.keras.utils import to_categorical
from sklearn.metrics import accuracy_score

BATCH = 128
EPOCHS = 10

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train = x_train.reshape(-1, 784).astype("float64") / 255
x_test = x_test.reshape(-1, 784).astype("float64") / 255
t_train = to_categorical(y_train, 10)


def relu(x):
    return x * (x > 0)


def softmax(x):
    ex = np.exp(x - x.max(axis=-1, keepdims=True))
    return ex / ex.sum(axis=-1, keepdims=True)


class SimpleMLP:
    def __init__(self, sizes=(784, 64, 10), seed=1):
        rs = np.random.RandomState(seed)
        self.W1 = rs.randn(sizes[0], sizes[1]) * np.sqrt(2.0 / sizes[0])
        self.b1 = np.zeros(sizes[1])
        self.W2 = rs.randn(sizes[1], sizes[2]) * np.sqrt(2.0 / sizes[1])
        self.b2 = np.zeros(sizes[2])

    def forward(self, x):
        self.z1 = x @ self.W1 + self.b1
        self.a1 = relu(self.z1)
        return softmax(self.a1 @ self.W2 + self.b2)

    def train_step(self, x, t, lr):
        """One mini-batch; t is one-hot. Returns the loss."""
        n = len(x)
        p = self.forward(x)
        loss = -np.sum(t * np.log(p + 1e-15)) / n
        d2 = (p - t) / n
        d1 = (d2 @ self.W2.T) * (self.z1 > 0)
        self.W2 -= lr * (self.a1.T @ d2)
        self.b2 -= lr * d2.sum(axis=0)
        self.W1 -= lr * (x.T @ d1)
        self.b1 -= lr * d1.sum(axis=0)
        return loss


net = SimpleMLP()
curve = []
for epoch in range(EPOCHS):
    order = np.random.permutation(len(x_train))
    for s in range(0, len(order), BATCH):
        idx = order[s:s + BATCH]
        curve.append(net.train_step(x_train[idx], t_train[idx], 0.1))
    print(epoch, accuracy_score(y_test, net.forward(x_test).argmax(1)))

plt.semilogy(curve)
plt.savefig("curve.png")
