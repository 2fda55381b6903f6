"""A network whose layers bring their own backward."""
import torch
from torch import nn


class AffineFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, bias):
        ctx.save_for_backward(input, weight)
        return input.mm(weight.t()) + bias

    @staticmethod
    def backward(ctx, grad_output):
        input, weight = ctx.saved_tensors
        grad_input = grad_output.mm(weight)
        grad_weight = grad_output.t().mm(input)
        grad_bias = grad_output.sum(0)
        return grad_input, grad_weight, grad_bias


class TanhFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input):
        output = torch.tanh(input)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx, grad_output):
        (output,) = ctx.saved_tensors
        return grad_output * (1 - output ** 2)


class Affine(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features).uniform_(-0.5, 0.5))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x):
        return AffineFunction.apply(x, self.weight, self.bias)


class MyNet(nn.Module):
    def __init__(self, n_in=4, n_hidden=6, n_out=3):
        super().__init__()
        self.first = Affine(n_in, n_hidden)
        self.second = Affine(n_hidden, n_out)

    def forward(self, x):
        return self.second(TanhFunction.apply(self.first(x)))
