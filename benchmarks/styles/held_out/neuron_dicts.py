"""Network = list of layers, layer = list of neurons, neuron = dictionary. The last weight is the bias."""
import math
import random


def make_neuron(n_inputs):
    return {'weights': [random.uniform(-1, 1) for _ in range(n_inputs + 1)]}


def make_network(n_inputs, n_hidden, n_outputs):
    return [[make_neuron(n_inputs) for _ in range(n_hidden)],
            [make_neuron(n_hidden) for _ in range(n_outputs)]]


def squash(total):
    return 1.0 / (1.0 + math.exp(-total))


def squash_slope(output):
    return output * (1.0 - output)


def forward(network, row):
    values = row
    for layer in network:
        for neuron in layer:
            *w, bias = neuron['weights']
            neuron['output'] = squash(bias + sum(a * b for a, b in zip(w, values)))
        values = [neuron['output'] for neuron in layer]
    return values


def backward(network, expected):
    above = None
    for layer in reversed(network):
        for j, neuron in enumerate(layer):
            if above is None:
                error = neuron['output'] - expected[j]
            else:
                error = sum(n['weights'][j] * n['delta'] for n in above)
            neuron['delta'] = error * squash_slope(neuron['output'])
        above = layer


def update(network, row, l_rate):
    values = row
    for layer in network:
        for neuron in layer:
            for j, v in enumerate(values):
                neuron['weights'][j] -= l_rate * neuron['delta'] * v
            neuron['weights'][-1] -= l_rate * neuron['delta']
        values = [neuron['output'] for neuron in layer]


def train_network(network, row, expected, l_rate):
    """Show one row to the network. Returns half the squared error it had on it."""
    outputs = forward(network, row)
    backward(network, expected)
    update(network, row, l_rate)
    return 0.5 * sum((e - o) ** 2 for e, o in zip(expected, outputs))


if __name__ == '__main__':
    net = make_network(2, 3, 2)
    for epoch in range(20):
        print(epoch, train_network(net, [0.3, -1.2], [1, 0], 0.5))
