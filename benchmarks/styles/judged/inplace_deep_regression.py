import numpy as np


class DeepRegressor:
    """tanh hidden layers, linear output, full-batch gradient descent."""

    def __init__(self, layout, step_size=0.01):
        self.step_size = step_size
        self.weights = []
        self.offsets = []
        for i in range(len(layout) - 1):
            limit = np.sqrt(6 / (layout[i] + layout[i + 1]))
            self.weights.append(np.random.uniform(-limit, limit, (layout[i], layout[i + 1])))
            self.offsets.append(np.zeros(layout[i + 1]))

    def __call__(self, X):
        self.signals = [X]
        for i in range(len(self.weights)):
            drive = self.signals[i] @ self.weights[i] + self.offsets[i]
            if i < len(self.weights) - 1:
                drive = np.tanh(drive)
            self.signals.append(drive)
        return self.signals[-1]

    def train(self, X, Y, epochs=1):
        for _ in range(epochs):
            residual = Y - self(X)
            # first all the deltas, from the top down ...
            deltas = [residual]
            for i in range(len(self.weights) - 1, 0, -1):
                sent_down = deltas[0] @ self.weights[i].T
                deltas.insert(0, sent_down * (1 - self.signals[i] ** 2))
            # ... and only then the updates
            for i, delta in enumerate(deltas):
                self.weights[i] += self.step_size * self.signals[i].T @ delta / len(X)
                self.offsets[i] += self.step_size * delta.mean(axis=0)
        return self


if __name__ == "__main__":
    x = np.linspace(-3, 3, 200).reshape(-1, 1)
    y = np.sin(x)
    model = DeepRegressor([1, 16, 16, 1], step_size=0.05)
    for block in range(20):
        model.train(x, y, epochs=250)
        print(block, "mse:", np.mean((model(x) - y) ** 2))
