# fit a noisy sine with a small network
import math
import torch
from torch import nn

torch.manual_seed(42)

x = torch.linspace(-math.pi, math.pi, 400).unsqueeze(1)
y = torch.sin(x) + 0.1 * torch.randn_like(x)

net = nn.Sequential(
    nn.Linear(1, 32),
    nn.Tanh(),
    nn.Linear(32, 32),
    nn.Tanh(),
    nn.Linear(32, 1),
)
mse = nn.MSELoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)

optimizer.zero_grad()
for step in range(600):
    idx = torch.randint(0, len(x), (64,))
    xb, yb = x[idx], y[idx]
    pred = net(xb)
    loss = mse(pred, yb)
    loss.backward()
    optimizer.step()
    if (step + 1) % 100 == 0:
        print(f"step {step + 1:4d}  loss {loss.item():.4f}")

with torch.no_grad():
    print("final mse:", mse(net(x), y).item())
