import numpy

class neuralNetwork:

    def __init__(self, inputnodes, hiddennodes, outputnodes, learningrate):
        self.wih = numpy.random.uniform(-0.5, 0.5, (hiddennodes, inputnodes))
        self.who = numpy.random.uniform(-0.5, 0.5, (outputnodes, hiddennodes))
        self.lr = learningrate
        self.act = lambda v: 1 / (1 + numpy.exp(-v))

    def column(self, values):
        return numpy.array(values, ndmin=2).T

    # one example at a time, given as plain lists
    def train(self, inputs_list, targets_list):
        inputs = self.column(inputs_list)
        targets = self.column(targets_list)

        hidden = self.act(self.wih @ inputs)
        final = self.act(self.who @ hidden)

        output_errors = targets - final
        output_slopes = output_errors * final * (1 - final)
        hidden_errors = self.who.T @ output_slopes

        self.who += self.lr * output_slopes @ hidden.T
        self.wih += self.lr * (hidden_errors * hidden * (1 - hidden)) @ inputs.T

    def query(self, inputs_list):
        return self.act(self.who @ self.act(self.wih @ self.column(inputs_list)))
