import numpy as np

inp = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
want = np.array([[0], [1], [1], [0]], dtype=float)

class XorNet(object):
    def __init__(self):
        # 2 inputs, 3 hidden, 1 output
        self.inputSize = 2
        self.hiddenSize = 3
        self.outputSize = 1
        self.W1 = np.random.randn(self.inputSize, self.hiddenSize)
        self.W2 = np.random.randn(self.hiddenSize, self.outputSize)

    def sigmoid(self, s):
        return 1/(1+np.exp(-s))

    def sigmoidPrime(self, s):
        # s went through the sigmoid already!!
        return s * (1 - s)

    def forward(self, X):
        self.z1 = np.dot(X, self.W1)
        self.a1 = self.sigmoid(self.z1)
        self.z2 = np.dot(self.a1, self.W2)
        return self.sigmoid(self.z2)

    def backward(self, X, y, o):
        self.o_error = y - o
        self.o_delta = self.o_error*self.sigmoidPrime(o)
        self.a1_error = self.o_delta.dot(self.W2.T)
        self.a1_delta = self.a1_error*self.sigmoidPrime(self.a1)
        self.W1 += X.T.dot(self.a1_delta)
        self.W2 += self.a1.T.dot(self.o_delta)

    def train(self, X, y):
        self.backward(X, y, self.forward(X))

net = XorNet()
for i in range(2000):
    net.train(inp, want)
    if i % 200 == 0:
        print(i, "error:", np.abs(want - net.forward(inp)).max())
print(net.forward(inp).round(2))
