import numpy as np


class TwoLayerNet(object):
    """
    input - fully connected - ReLU - fully connected - softmax
    L2 regularisation on the weight matrices.
    """

    def __init__(self, input_size, hidden_size, output_size, std=1e-1):
        self.params = {}
        self.params['W1'] = std * np.random.randn(input_size, hidden_size)
        self.params['b1'] = np.zeros(hidden_size)
        self.params['W2'] = std * np.random.randn(hidden_size, output_size)
        self.params['b2'] = np.zeros(output_size)

    def loss(self, X, y=None, reg=0.0):
        W1, b1 = self.params['W1'], self.params['b1']
        W2, b2 = self.params['W2'], self.params['b2']
        N, D = X.shape

        hidden = X.dot(W1) + b1
        relu_out = np.maximum(0, hidden)
        scores = relu_out.dot(W2) + b2
        if y is None:
            return scores

        shift = scores - np.max(scores, axis=1).reshape(-1, 1)
        softmax_output = np.exp(shift) / np.sum(np.exp(shift), axis=1).reshape(-1, 1)
        loss = -np.sum(np.log(softmax_output[range(N), list(y)]))
        loss /= N
        loss += reg * (np.sum(W1 * W1) + np.sum(W2 * W2))

        grads = {}
        dscores = softmax_output.copy()
        dscores[range(N), list(y)] += -1
        dscores /= N
        grads['W2'] = relu_out.T.dot(dscores) + 2 * reg * W2
        grads['b2'] = np.sum(dscores, axis=0)

        dh = dscores.dot(W2.T)
        dh_relu = (relu_out > 0) * dh
        grads['W1'] = X.T.dot(dh_relu) + 2 * reg * W1
        grads['b1'] = np.sum(dh_relu, axis=0)
        return loss, grads

    def train(self, X, y, learning_rate=1e-3, reg=5e-6, num_iters=100, batch_size=200):
        history = []
        for it in range(num_iters):
            idx = np.random.choice(X.shape[0], batch_size, replace=True)
            loss, grads = self.loss(X[idx], y=y[idx], reg=reg)
            history.append(loss)
            for key in self.params:
                self.params[key] -= learning_rate * grads[key]
        return history

    def predict(self, X):
        return np.argmax(self.loss(X), axis=1)
