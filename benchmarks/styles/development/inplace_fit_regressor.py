import numpy as np


class MLPRegressor:
    """One hidden tanh layer, full-batch gradient descent on the mean squared error."""

    def __init__(self, n_hidden=10, lr=0.01, n_iter=100, random_state=0):
        self.n_hidden = n_hidden
        self.lr = lr
        self.n_iter = n_iter
        self.random_state = random_state

    def _init_weights(self, n_features, n_outputs):
        rgen = np.random.RandomState(self.random_state)
        self.w_h_ = rgen.normal(0.0, 0.5, size=(n_features, self.n_hidden))
        self.b_h_ = rgen.normal(0.0, 0.1, size=self.n_hidden)
        self.w_o_ = rgen.normal(0.0, 0.5, size=(self.n_hidden, n_outputs))
        self.b_o_ = np.zeros(n_outputs)

    def _forward(self, X):
        a_h = np.tanh(X @ self.w_h_ + self.b_h_)
        return a_h, a_h @ self.w_o_ + self.b_o_

    def fit(self, X, y):
        y = np.asarray(y, dtype=float)
        if y.ndim == 1:
            y = y.reshape(-1, 1)
        self._init_weights(X.shape[1], y.shape[1])
        self.loss_ = []
        for _ in range(self.n_iter):
            a_h, out = self._forward(X)
            errors = out - y
            self.loss_.append((errors ** 2).mean())

            delta_out = 2.0 * errors / errors.size
            delta_h = (delta_out @ self.w_o_.T) * (1.0 - a_h ** 2)
            self.w_o_ -= self.lr * a_h.T @ delta_out
            self.b_o_ -= self.lr * delta_out.sum(axis=0)
            self.w_h_ -= self.lr * X.T @ delta_h
            self.b_h_ -= self.lr * delta_h.sum(axis=0)
        return self

    def predict(self, X):
        return self._forward(X)[1]
