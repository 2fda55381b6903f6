import warnings
import torch
import torch.nn as nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import Dataset, DataLoader

warnings.filterwarnings("ignore")
torch.manual_seed(123)


class HousingDataset(Dataset):
    def __init__(self, n):
        self.features = torch.randn(n, 6)
        w = torch.tensor([1.5, -2.0, 0.7, 0.0, 3.0, -0.4])
        self.price = (self.features @ w + 0.5 * self.features[:, 0] * self.features[:, 1]).unsqueeze(1)

    def __len__(self):
        return len(self.features)

    def __getitem__(self, i):
        return self.features[i], self.price[i]


train_loader = DataLoader(HousingDataset(600), batch_size=20, shuffle=True)
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
scheduler = StepLR(optimizer, step_size=3, gamma=0.5)

for epoch in range(8):
    total = 0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        total += loss.item()
    scheduler.step()
    print("Epoch %d/%d, loss = %.4f" % (epoch + 1, 8, total / len(train_loader)))
