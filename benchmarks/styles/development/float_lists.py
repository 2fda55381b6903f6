# no numpy at all: one sample, lists of floats
import math
import random

def sig(t):
    return 1.0 / (1.0 + math.exp(-t))

def new_net(ni, nh, no):
    W1 = [[random.uniform(-1, 1) for _ in range(ni)] for _ in range(nh)]
    b1 = [0.0] * nh
    W2 = [[random.uniform(-1, 1) for _ in range(nh)] for _ in range(no)]
    b2 = [0.0] * no
    return W1, b1, W2, b2

def gradient(x, y, W1, b1, W2, b2):
    # hidden layer
    h = []
    for j in range(len(W1)):
        s = b1[j]
        for i in range(len(x)):
            s += W1[j][i] * x[i]
        h.append(sig(s))
    # output layer
    o = []
    for k in range(len(W2)):
        s = b2[k]
        for j in range(len(h)):
            s += W2[k][j] * h[j]
        o.append(sig(s))

    err = 0.0
    for k in range(len(o)):
        err += 0.5 * (o[k] - y[k]) ** 2

    d2 = [(o[k] - y[k]) * o[k] * (1 - o[k]) for k in range(len(o))]
    d1 = []
    for j in range(len(h)):
        back = 0.0
        for k in range(len(o)):
            back += d2[k] * W2[k][j]
        d1.append(back * h[j] * (1 - h[j]))

    gW2 = [[d2[k] * h[j] for j in range(len(h))] for k in range(len(o))]
    gW1 = [[d1[j] * x[i] for i in range(len(x))] for j in range(len(h))]
    return err, gW1, d1, gW2, d2
