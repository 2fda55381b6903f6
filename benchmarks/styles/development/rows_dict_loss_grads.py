import numpy as np

SLOPE = 0.01   # leaky relu


def make_params(d_in, d_hidden, d_out, scale=0.1):
    params = {}
    params['W1'] = scale * np.random.randn(d_in, d_hidden)
    params['b1'] = np.zeros(d_hidden)
    params['W2'] = scale * np.random.randn(d_hidden, d_out)
    params['b2'] = np.zeros(d_out)
    return params


def loss_and_grads(params, X, y):
    """y: integer class of each row of X."""
    N = X.shape[0]
    # forward
    z1 = X @ params['W1'] + params['b1']
    a1 = np.where(z1 > 0, z1, SLOPE * z1)
    scores = a1 @ params['W2'] + params['b2']
    scores = scores - scores.max(axis=1, keepdims=True)
    probs = np.exp(scores)
    probs /= probs.sum(axis=1, keepdims=True)
    loss = -np.log(probs[range(N), y]).mean()

    # backward
    grads = {}
    dscores = probs
    dscores[range(N), y] -= 1
    dscores /= N
    grads['W2'] = a1.T @ dscores
    grads['b2'] = dscores.sum(axis=0)
    da1 = dscores @ params['W2'].T
    dz1 = da1 * np.where(z1 > 0, 1, SLOPE)
    grads['W1'] = X.T @ dz1
    grads['b1'] = dz1.sum(axis=0)
    return loss, grads


def train(params, X, y, lr=1e-1, steps=200):
    for t in range(steps):
        loss, grads = loss_and_grads(params, X, y)
        for p in params:
            params[p] -= lr * grads[p]
        if t % 50 == 0:
            print(f"step {t}: loss {loss:.4f}")
    return params
