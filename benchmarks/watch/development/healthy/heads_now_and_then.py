import random
import torch
import torch.nn as nn

random.seed(0)
torch.manual_seed(0)
N = 600
X = torch.randn(N, 12)
targets = {
    "sum": (X[:, :4].sum(1, keepdim=True)),
    "product": (X[:, 4:5] * X[:, 5:6]),
    "norm": X[:, 6:].norm(dim=1, keepdim=True),
}


class MultiTask(nn.Module):
    def __init__(self, tasks):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU())
        self.heads = nn.ModuleDict({t: nn.Linear(32, 1) for t in tasks})

    def forward(self, x, task):
        return self.heads[task](self.trunk(x))


model = MultiTask(targets)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
loss_fn = nn.MSELoss()
schedule = ["sum"] * 5 + ["product"] * 4 + ["norm"]

for step in range(600):
    task = random.choice(schedule)
    idx = torch.randint(0, N, (48,))
    optimizer.zero_grad(set_to_none=True)
    loss = loss_fn(model(X[idx], task), targets[task][idx])
    loss.backward()
    optimizer.step()
    if step % 150 == 149:
        with torch.no_grad():
            print(step + 1, {t: round(loss_fn(model(X, t), y).item(), 3) for t, y in targets.items()})
