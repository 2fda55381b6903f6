# physics-informed network: u'' = -u, u(0) = 0, u'(0) = 1
import math
import torch
from torch import nn

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)

net = nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1))
points = torch.linspace(0, math.pi, 60).reshape(-1, 1).requires_grad_()
origin = torch.zeros(1, 1, requires_grad=True)
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)


def derivative(u, x):
    return torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)[0]


for step in range(1, 501):
    optimizer.zero_grad()
    u = net(points)
    u_xx = derivative(derivative(u, points), points)
    equation = (u_xx + u).square().mean()
    u0 = net(origin)
    start = u0.square().sum() + (derivative(u0, origin) - 1).square().sum()
    loss = equation + start
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        with torch.no_grad():
            error = (net(points) - torch.sin(points)).abs().max().item()
        print(f"step {step}: equation {equation.item():.2e} start {start.item():.2e} largest error {error:.4f}")
