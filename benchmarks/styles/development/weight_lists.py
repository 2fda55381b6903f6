import numpy as np

def relu(v): return v * (v > 0)

def softmax(v):
    e = np.exp(v - np.max(v, axis=1)[:, None])
    return e / np.sum(e, axis=1)[:, None]

def init(sizes):
    Ws = [np.random.normal(0, (2 / n) ** .5, (n, k)) for n, k in zip(sizes[:-1], sizes[1:])]
    bs = [np.zeros(k) for k in sizes[1:]]
    return Ws, bs

def predict(X, Ws, bs):
    for W, b in zip(Ws[:-1], bs[:-1]):
        X = relu(X @ W + b)
    return softmax(X @ Ws[-1] + bs[-1])

def backprop(X, Y, Ws, bs):
    # forward, keep all activations
    acts = [X]
    zs = []
    for i in range(len(Ws)):
        z = acts[i] @ Ws[i] + bs[i]
        zs.append(z)
        acts.append(softmax(z) if i == len(Ws) - 1 else relu(z))
    B = X.shape[0]
    loss = -(Y * np.log(acts[-1])).sum() / B
    # backward
    dWs = [None] * len(Ws)
    dbs = [None] * len(bs)
    delta = (acts[-1] - Y) / B
    for i in reversed(range(len(Ws))):
        dWs[i] = acts[i].T @ delta
        dbs[i] = delta.sum(0)
        if i > 0:
            delta = (delta @ Ws[i].T) * (zs[i - 1] > 0)
    return loss, dWs, dbs
