import math
import random


def dtanh(t):
    # t is already tanh(...)
    return 1.0 - t * t


class NN:
    """Two layers of tanh on plain lists. The input gets a constant 1 appended, the hidden layer does not."""

    def __init__(self, n_in, n_hid, n_out):
        self.wi = [[random.gauss(0, 0.5) for _ in range(n_hid)] for _ in range(n_in + 1)]
        self.wo = [[random.gauss(0, 0.5) for _ in range(n_out)] for _ in range(n_hid)]

    def update(self, inputs):
        self.ai = list(inputs) + [1.0]
        self.ah = []
        for j in range(len(self.wo)):
            s = sum(self.ai[i] * self.wi[i][j] for i in range(len(self.ai)))
            self.ah.append(math.tanh(s))
        self.ao = []
        for k in range(len(self.wo[0])):
            s = sum(self.ah[j] * self.wo[j][k] for j in range(len(self.ah)))
            self.ao.append(math.tanh(s))
        return self.ao

    def backPropagate(self, targets, rate):
        out_d = []
        for k, t in enumerate(targets):
            miss = t - self.ao[k]
            out_d.append(miss * dtanh(self.ao[k]))

        hid_d = []
        for j, h in enumerate(self.ah):
            blame = sum(d * w for d, w in zip(out_d, self.wo[j]))
            hid_d.append(blame * dtanh(h))

        for j, h in enumerate(self.ah):
            for k, d in enumerate(out_d):
                self.wo[j][k] += rate * d * h

        for i, x in enumerate(self.ai):
            for j, d in enumerate(hid_d):
                self.wi[i][j] += rate * d * x
        return sum((t - o) ** 2 for t, o in zip(targets, self.ao)) / 2

    def train(self, patterns, rounds=500, rate=0.2):
        for r in range(rounds):
            total = 0.0
            for inputs, targets in patterns:
                self.update(inputs)
                total += self.backPropagate(targets, rate)
        return total
