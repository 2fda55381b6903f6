import random
import torch
import torch.nn as nn
from torch.utils.data import TensorDataset, DataLoader

random.seed(0)
torch.manual_seed(0)

# number of bikes rented per hour, made up
n = 1000
hour = torch.randint(0, 24, (n, 1)).float()
temp = torch.randn(n, 1)
weekend = torch.randint(0, 2, (n, 1)).float()
count = 10 + 6 * torch.sin((hour - 6) / 24 * 2 * 3.14159) + 3 * temp - 2 * weekend
count = count.clamp(min=0).round().squeeze(1)
features_all = torch.cat([torch.sin(hour / 24 * 6.283), torch.cos(hour / 24 * 6.283), temp, weekend], 1)
loader = DataLoader(TensorDataset(features_all, count), batch_size=25, shuffle=True)

model = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 1))
criterion = nn.L1Loss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

for epoch in range(10):
    error, batches = 0, 0
    for features, target in loader:
        optimizer.zero_grad()
        prediction = torch.round(model(features)).squeeze(1)
        loss = criterion(prediction, target)
        loss.backward()
        optimizer.step()
        error += loss.item()
        batches += 1
    print("Epoch", epoch, "mean absolute error", error / batches)
