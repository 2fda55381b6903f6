import numpy as np
import torch
import torch.nn as nn

np.random.seed(0)
torch.manual_seed(0)

# two moons
n = 500
t = np.random.rand(n) * np.pi
side = np.random.randint(0, 2, n)
moons = np.stack([np.cos(t), np.sin(t)], 1)
moons[side == 1] = np.array([1.0, 0.5]) - moons[side == 1]
moons += 0.1 * np.random.randn(n, 2)
X = torch.tensor(moons, dtype=torch.float32)
y = torch.tensor(side, dtype=torch.float32).unsqueeze(1)

model = nn.Sequential(
    nn.Linear(2, 16),
    nn.ReLU(),
    nn.Linear(16, 16),
    nn.ReLU(),
    nn.Linear(16, 1),
    nn.Sigmoid(),
)
loss_fn = nn.BCELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1.0)

n_epochs, batch_size = 20, 25
for epoch in range(n_epochs):
    order = torch.randperm(n)
    for i in range(0, n, batch_size):
        Xb, yb = X[order[i:i + batch_size]], y[order[i:i + batch_size]]
        loss = loss_fn(model(Xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 4 == 3:
        acc = (model(X).round() == y).float().mean()
        print(f"Finished epoch {epoch + 1}, latest loss {loss.item():.4f}, accuracy {acc.item():.3f}")
