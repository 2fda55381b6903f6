import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

torch.manual_seed(0)
rng = np.random.default_rng(10)

# species of irises, made up: four lengths, three kinds
means = np.array([[5.0, 3.4, 1.5, 0.2], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.5, 2.0]])
kind = rng.integers(0, 3, 150)
X = means[kind] + rng.normal(scale=[0.4, 0.3, 0.4, 0.25], size=(150, 4))
X = torch.tensor((X - X.mean(0)) / X.std(0), dtype=torch.float32)
y = torch.tensor(kind)
X_train, y_train, X_test, y_test = X[:110], y[:110], X[110:], y[110:]

model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.95))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
loss_list, accuracy_list = np.zeros(100), np.zeros(100)

for epoch in range(100):
    y_pred = model(X_train)
    loss = criterion(y_pred, y_train)
    loss_list[epoch] = loss.item()

    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    ema.update_parameters(model)

    with torch.no_grad():
        accuracy_list[epoch] = (ema(X_test).argmax(dim=1) == y_test).float().mean().item()

print("loss", loss_list[::20].round(3), "accuracy", accuracy_list[::20].round(3), accuracy_list[-1].round(3))
