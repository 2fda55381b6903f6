import torch


class FFNetwork:
    """Two layers of sigmoids, trained without autograd."""

    def __init__(self, n_inputs, n_hidden, n_outputs):
        self.W1 = torch.randn(n_inputs, n_hidden)
        self.B1 = torch.zeros(1, n_hidden)
        self.W2 = torch.randn(n_hidden, n_outputs)
        self.B2 = torch.zeros(1, n_outputs)

    def sigmoid(self, s):
        return 1 / (1 + torch.exp(-s))

    def sigmoid_derivative(self, s):
        return s * (1 - s)

    def forward(self, X):
        self.A1 = torch.matmul(X, self.W1) + self.B1
        self.H1 = self.sigmoid(self.A1)
        self.A2 = torch.matmul(self.H1, self.W2) + self.B2
        return self.sigmoid(self.A2)

    def loss(self, X, Y):
        out = self.forward(X)
        return -(Y * torch.log(out) + (1 - Y) * torch.log(1 - out)).sum() / X.size(0)

    def grad(self, X, Y):
        O = self.forward(X)
        m = X.size(0)
        dA2 = (O - Y) / m
        self.dW2 = torch.matmul(self.H1.t(), dA2)
        self.dB2 = torch.sum(dA2, dim=0, keepdim=True)
        dH1 = torch.matmul(dA2, self.W2.t())
        dA1 = dH1 * self.sigmoid_derivative(self.H1)
        self.dW1 = torch.matmul(X.t(), dA1)
        self.dB1 = torch.sum(dA1, dim=0, keepdim=True)

    def fit(self, X, Y, epochs=1, learning_rate=1.0):
        for _ in range(epochs):
            self.grad(X, Y)
            self.W2 = self.W2 - learning_rate * self.dW2
            self.B2 = self.B2 - learning_rate * self.dB2
            self.W1 = self.W1 - learning_rate * self.dW1
            self.B1 = self.B1 - learning_rate * self.dB1
