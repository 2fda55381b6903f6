"""A classifier in pure Python: no numpy, one example at a time."""
from math import exp, log
from random import gauss


def random_matrix(rows, cols):
    return [[gauss(0, 0.5) for _ in range(cols)] for _ in range(rows)]


def forward(w_hid, b_hid, w_out, b_out, x):
    hid = []
    for row, bias in zip(w_hid, b_hid):
        total = bias + sum(w * xi for w, xi in zip(row, x))
        hid.append(1 / (1 + exp(-total)))
    scores = [bias + sum(w * h for w, h in zip(row, hid)) for row, bias in zip(w_out, b_out)]
    top = max(scores)
    powers = [exp(s - top) for s in scores]
    return hid, [p / sum(powers) for p in powers]


def learn_example(w_hid, b_hid, w_out, b_out, x, label, eta):
    """One step of gradient descent, in place. label counts from 0. Returns the loss before it."""
    hid, probs = forward(w_hid, b_hid, w_out, b_out, x)
    loss = -log(probs[label])

    d_out = list(probs)
    d_out[label] -= 1.0

    d_hid = []
    for j in range(len(hid)):
        s = 0.0
        for k in range(len(d_out)):
            s += w_out[k][j] * d_out[k]
        d_hid.append(s * hid[j] * (1 - hid[j]))

    for k in range(len(d_out)):
        for j in range(len(hid)):
            w_out[k][j] -= eta * d_out[k] * hid[j]
        b_out[k] -= eta * d_out[k]

    for j in range(len(hid)):
        for i in range(len(x)):
            w_hid[j][i] -= eta * d_hid[j] * x[i]
        b_hid[j] -= eta * d_hid[j]
    return loss


if __name__ == '__main__':
    points = [([0.0, 0.1], 0), ([1.0, 0.9], 1), ([0.1, 1.0], 2)]
    wh, bh, wo, bo = random_matrix(4, 2), [0.0] * 4, random_matrix(3, 4), [0.0] * 3
    for turn in range(500):
        total = sum(learn_example(wh, bh, wo, bo, p, c, 0.3) for p, c in points)
    print('loss after training:', total / len(points))
