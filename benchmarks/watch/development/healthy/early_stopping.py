import copy
import torch
import torch.nn as nn


class EarlyStopping:
    def __init__(self, patience=5):
        self.patience, self.counter, self.best, self.state = patience, 0, float("inf"), None

    def __call__(self, value, model):
        if value < self.best:
            self.best, self.counter = value, 0
            self.state = copy.deepcopy(model.state_dict())
        else:
            self.counter += 1
        return self.counter >= self.patience


torch.manual_seed(8)
x = torch.randn(160, 15)
y = x[:, :2].prod(1, keepdim=True) + 0.6 * torch.randn(160, 1)
x_val = torch.randn(300, 15)
y_val = x_val[:, :2].prod(1, keepdim=True) + 0.6 * torch.randn(300, 1)

model = nn.Sequential(nn.Linear(15, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
criterion = nn.MSELoss()
stopper = EarlyStopping()
for epoch in range(60):
    model.train()
    for idx in torch.randperm(len(x)).split(20):
        optimizer.zero_grad()
        loss = criterion(model(x[idx]), y[idx])
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        val = criterion(model(x_val), y_val).item()
    print(f"epoch {epoch:2d} train {loss.item():.3f} val {val:.3f}")
    if stopper(val, model):
        print("stopping early")
        break

model.load_state_dict(stopper.state)
with torch.no_grad():
    print("restored val loss", criterion(model(x_val), y_val).item())
