"""Tagging: every example may carry several tags. One column per example."""
import numpy as np


def init(n_features, n_first, n_second, n_tags, seed=3):
    gen = np.random.default_rng(seed)
    return {
        'U': gen.normal(0, 0.3, (n_first, n_features)), 'u0': np.zeros((n_first, 1)),
        'V': gen.normal(0, 0.3, (n_second, n_first)), 'v0': np.zeros((n_second, 1)),
        'O': gen.normal(0, 0.3, (n_tags, n_second)), 'o0': np.zeros((n_tags, 1)),
    }


def run_network(net, X):
    first = np.tanh(net['U'].dot(X) + net['u0'])
    second = np.tanh(net['V'].dot(first) + net['v0'])
    tags = 1.0 / (1.0 + np.exp(-(net['O'].dot(second) + net['o0'])))
    return {'first': first, 'second': second, 'tags': tags}


def tagging_cost(tags, T):
    n_examples = T.shape[1]
    log_likelihood = np.sum(T * np.log(tags)) + np.sum((1 - T) * np.log(1 - tags))
    return -log_likelihood / n_examples


def slopes(net, X, T):
    """Slope of tagging_cost for each entry of net."""
    n_examples = X.shape[1]
    acts = run_network(net, X)
    out = {}

    err = (acts['tags'] - T) / n_examples
    out['O'] = err.dot(acts['second'].T)
    out['o0'] = err.sum(axis=1, keepdims=True)

    err = net['O'].T.dot(err)
    err *= 1 - np.square(acts['second'])
    out['V'] = err.dot(acts['first'].T)
    out['v0'] = err.sum(axis=1, keepdims=True)

    err = net['V'].T.dot(err)
    err *= 1 - np.square(acts['first'])
    out['U'] = err.dot(X.T)
    out['u0'] = err.sum(axis=1, keepdims=True)
    return out


def learn(net, X, T, rate=0.5, rounds=500):
    for _ in range(rounds):
        step = slopes(net, X, T)
        for name in net:
            net[name] = net[name] - rate * step[name]
    return net
