import math
import random


class Neuron:
    def __init__(self, n_inputs):
        # last weight is the bias
        self.weights = [random.uniform(-0.5, 0.5) for _ in range(n_inputs + 1)]
        self.output = 0.0
        self.delta = 0.0

    def activate(self, inputs):
        total = self.weights[-1]
        for w, x in zip(self.weights, inputs):
            total += w * x
        self.output = math.tanh(total)
        return self.output


class NeuralNet:
    def __init__(self, n_inputs, n_hidden, n_outputs, learning_rate=0.1):
        self.hidden_layer = [Neuron(n_inputs) for _ in range(n_hidden)]
        self.output_layer = [Neuron(n_hidden) for _ in range(n_outputs)]
        self.learning_rate = learning_rate

    def feed_forward(self, inputs):
        hidden = [n.activate(inputs) for n in self.hidden_layer]
        return [n.activate(hidden) for n in self.output_layer]

    def train(self, inputs, targets):
        """One step on one sample."""
        outputs = self.feed_forward(inputs)
        for neuron, target in zip(self.output_layer, targets):
            error = neuron.output - target
            neuron.delta = error * (1 - neuron.output ** 2)
        for j, neuron in enumerate(self.hidden_layer):
            error = sum(out.weights[j] * out.delta for out in self.output_layer)
            neuron.delta = error * (1 - neuron.output ** 2)

        hidden = [n.output for n in self.hidden_layer]
        for layer, layer_inputs in ((self.hidden_layer, inputs), (self.output_layer, hidden)):
            for neuron in layer:
                for i, x in enumerate(layer_inputs):
                    neuron.weights[i] -= self.learning_rate * neuron.delta * x
                neuron.weights[-1] -= self.learning_rate * neuron.delta
        return sum(0.5 * (o - t) ** 2 for o, t in zip(outputs, targets))
