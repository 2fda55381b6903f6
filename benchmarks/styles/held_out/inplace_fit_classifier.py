import numpy as np


class NeuralNetMLP(object):
    """Sigmoid hidden layer, softmax output, L2 penalty, mini-batches."""

    def __init__(self, n_hidden=30, l2=0.0, epochs=100, eta=0.01, shuffle=True, minibatch_size=50, seed=None):
        self.random = np.random.RandomState(seed)
        self.n_hidden = n_hidden
        self.l2 = l2
        self.epochs = epochs
        self.eta = eta
        self.shuffle = shuffle
        self.minibatch_size = minibatch_size

    def _onehot(self, y, n_classes):
        onehot = np.zeros((n_classes, y.shape[0]))
        for idx, val in enumerate(y.astype(int)):
            onehot[val, idx] = 1.
        return onehot.T

    def _sigmoid(self, z):
        return 1. / (1. + np.exp(-np.clip(z, -250, 250)))

    def _softmax(self, z):
        e = np.exp(z - np.max(z, axis=1, keepdims=True))
        return e / np.sum(e, axis=1, keepdims=True)

    def _forward(self, X):
        z_h = np.dot(X, self.w_h) + self.b_h
        a_h = self._sigmoid(z_h)
        z_out = np.dot(a_h, self.w_out) + self.b_out
        a_out = self._softmax(z_out)
        return z_h, a_h, z_out, a_out

    def _compute_cost(self, y_enc, output):
        L2_term = 0.5 * self.l2 * (np.sum(self.w_h ** 2.) + np.sum(self.w_out ** 2.))
        return -np.sum(y_enc * np.log(output)) / len(y_enc) + L2_term

    def fit(self, X_train, y_train):
        n_output = np.unique(y_train).shape[0]
        n_features = X_train.shape[1]
        self.b_h = np.zeros(self.n_hidden)
        self.w_h = self.random.normal(loc=0.0, scale=0.1, size=(n_features, self.n_hidden))
        self.b_out = np.zeros(n_output)
        self.w_out = self.random.normal(loc=0.0, scale=0.1, size=(self.n_hidden, n_output))
        self.eval_ = {'cost': []}
        y_train_enc = self._onehot(y_train, n_output)

        for i in range(self.epochs):
            indices = np.arange(X_train.shape[0])
            if self.shuffle:
                self.random.shuffle(indices)

            for start in range(0, indices.shape[0], self.minibatch_size):
                batch_idx = indices[start:start + self.minibatch_size]
                X_batch = X_train[batch_idx]
                y_batch = y_train_enc[batch_idx]
                z_h, a_h, z_out, a_out = self._forward(X_batch)

                delta_out = (a_out - y_batch) / len(batch_idx)
                delta_h = np.dot(delta_out, self.w_out.T) * a_h * (1. - a_h)
                grad_w_h = np.dot(X_batch.T, delta_h)
                grad_b_h = np.sum(delta_h, axis=0)
                grad_w_out = np.dot(a_h.T, delta_out)
                grad_b_out = np.sum(delta_out, axis=0)

                self.w_h -= self.eta * (grad_w_h + self.l2 * self.w_h)
                self.b_h -= self.eta * grad_b_h
                self.w_out -= self.eta * (grad_w_out + self.l2 * self.w_out)
                self.b_out -= self.eta * grad_b_out

            self.eval_['cost'].append(self._compute_cost(y_train_enc, self._forward(X_train)[-1]))
        return self

    def predict(self, X):
        return np.argmax(self._forward(X)[2], axis=1)
