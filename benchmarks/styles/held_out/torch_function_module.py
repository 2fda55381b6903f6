import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd import Function

class LinearFn(Function):
    @staticmethod
    def forward(ctx, x, W, b):
        ctx.save_for_backward(x, W, b)
        return x @ W + b

    @staticmethod
    def backward(ctx, dout):
        x, W, b = ctx.saved_tensors
        dx = dW = db = None
        if ctx.needs_input_grad[0]:
            dx = dout @ W.T
        if ctx.needs_input_grad[1]:
            dW = x.T @ dout
        if ctx.needs_input_grad[2]:
            db = dout.sum(dim=0)
        return dx, dW, db

class MyReLU(Function):
    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx, grad_output):
        z, = ctx.saved_tensors
        grad_input = grad_output.clone()
        grad_input[z < 0] = 0
        return grad_input

class TwoLayer(nn.Module):
    def __init__(self, d_in=6, d_hidden=8, n_classes=3):
        super(TwoLayer, self).__init__()
        self.W1 = nn.Parameter(torch.randn(d_in, d_hidden) * 0.3)
        self.b1 = nn.Parameter(torch.zeros(d_hidden))
        self.W2 = nn.Parameter(torch.randn(d_hidden, n_classes) * 0.3)
        self.b2 = nn.Parameter(torch.zeros(n_classes))

    def forward(self, x):
        h = MyReLU.apply(LinearFn.apply(x, self.W1, self.b1))
        return LinearFn.apply(h, self.W2, self.b2)

def training_loop(net, loader, lr=0.1, epochs=5):
    opt = torch.optim.SGD(net.parameters(), lr=lr)
    for epoch in range(epochs):
        for x, y in loader:
            opt.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            opt.step()
