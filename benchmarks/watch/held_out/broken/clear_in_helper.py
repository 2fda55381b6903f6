import torch
from torch import nn
from optim_helper import update

torch.manual_seed(1)

# XOR of two noisy bits among six features
X = torch.randn(700, 6)
T = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).float()
train_X, train_T, test_X, test_T = X[:500], T[:500], X[500:], T[500:]


class XorNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 24)
        self.outer = nn.Linear(24, 1)

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(x))).flatten()


net = XorNet()
optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
criterion = nn.BCEWithLogitsLoss()

for epoch in range(1, 31):
    for idx in torch.randperm(500).split(50):
        loss = criterion(net(train_X[idx]), train_T[idx])
        update(optimizer, loss)
    if epoch % 6 == 0:
        with torch.no_grad():
            acc = ((net(test_X) > 0).float() == test_T).float().mean()
        print(f"after {epoch} epochs: loss {loss.item():.4f}, accuracy {acc.item():.3f}")
