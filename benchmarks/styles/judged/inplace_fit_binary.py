import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class ShallowBinaryNet(BaseEstimator, ClassifierMixin):
    def __init__(self, units=6, eta=0.2, max_iter=400, random_state=None):
        self.units = units
        self.eta = eta
        self.max_iter = max_iter
        self.random_state = random_state

    @staticmethod
    def _sig(a):
        return 1.0 / (1.0 + np.exp(-a))

    def _forward(self, Xt):
        hidden = np.maximum(self.W_in_ @ Xt + self.b_in_, 0)
        return hidden, self._sig(self.W_out_ @ hidden + self.b_out_)

    def fit(self, X, y):
        """X: (n_samples, n_features), y: (n_samples,) of 0 and 1."""
        rs = np.random.RandomState(self.random_state)
        n, d = X.shape
        self.W_in_ = rs.normal(0, np.sqrt(2 / d), (self.units, d))
        self.b_in_ = np.zeros((self.units, 1))
        self.W_out_ = rs.normal(0, np.sqrt(1 / self.units), (1, self.units))
        self.b_out_ = np.zeros((1, 1))
        self.history_ = []

        Xt = X.T
        yt = np.asarray(y).reshape(1, -1)
        for _ in range(self.max_iter):
            hidden, prob = self._forward(Xt)
            bce = -(yt * np.log(prob) + (1 - yt) * np.log(1 - prob)).mean()
            self.history_.append(bce)

            e_out = (prob - yt) / n
            e_in = self.W_out_.T @ e_out
            e_in[hidden == 0] = 0

            self.W_out_ -= self.eta * e_out @ hidden.T
            self.b_out_ -= self.eta * e_out.sum(axis=1, keepdims=True)
            self.W_in_ -= self.eta * e_in @ Xt.T
            self.b_in_ -= self.eta * e_in.sum(axis=1, keepdims=True)
        return self

    def predict_proba(self, X):
        p = self._forward(X.T)[1].ravel()
        return np.c_[1 - p, p]

    def predict(self, X):
        return (self.predict_proba(X)[:, 1] > 0.5).astype(int)
