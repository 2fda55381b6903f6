import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.cat([torch.rand(200, 1) * 2 - 3, torch.rand(200, 1) * 2 + 1])
y = torch.sin(1.5 * x) + 0.1 * torch.randn_like(x)
loader = DataLoader(TensorDataset(x, y), batch_size=40, shuffle=True)


class Net(nn.Module):
    def __init__(self, p=0.1):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 1))

    def forward(self, x):
        return self.net(x)


def enable_dropout(model):
    for m in model.modules():
        if isinstance(m, nn.Dropout):
            m.train()


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-5)
for epoch in range(40):
    model.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(xb), yb)
        loss.backward()
        optimizer.step()
    if epoch % 10 == 9:
        print("epoch", epoch + 1, "loss", loss.item())

model.eval()
enable_dropout(model)
grid = torch.linspace(-3, 3, 7).unsqueeze(1)
with torch.no_grad():
    samples = torch.stack([model(grid) for _ in range(50)])
for g, m, s in zip(grid, samples.mean(0), samples.std(0)):
    print(f"x={g.item():+.1f} mean={m.item():+.2f} std={s.item():.2f}")
