import torch
import torch.nn as nn

torch.manual_seed(0)
quantiles = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])

n = 1200
x = torch.rand(n, 1) * 4
y = torch.sin(x) + (0.1 + 0.2 * x) * torch.randn(n, 1)
x_test = torch.rand(600, 1) * 4
y_test = torch.sin(x_test) + (0.1 + 0.2 * x_test) * torch.randn(600, 1)


class QuantileNet(nn.Module):
    def __init__(self, n_quantiles):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, n_quantiles))

    def forward(self, x):
        return self.net(x)


def pinball(pred, target, q):
    diff = target - pred
    return torch.maximum(q * diff, (q - 1) * diff).mean()


model = QuantileNet(len(quantiles))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(12):
    for idx in torch.randperm(n).split(50):
        loss = pinball(model(x[idx]), y[idx], quantiles)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "pinball", round(loss.item(), 4))
with torch.no_grad():
    coverage = (y_test <= model(x_test)).float().mean(0)
print("coverage", [round(c, 2) for c in coverage.tolist()], "wanted", quantiles.tolist())
