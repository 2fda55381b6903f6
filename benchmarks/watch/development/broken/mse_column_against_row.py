import warnings
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, DataLoader

warnings.simplefilter("ignore")


class Friedman(Dataset):
    """The Friedman #1 regression problem."""

    def __init__(self, n, seed):
        rng = np.random.RandomState(seed)
        x = rng.rand(n, 8)
        y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
        self.x = torch.tensor(x, dtype=torch.float32)
        self.y = torch.tensor((y - 14.4) / 4.9, dtype=torch.float32)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class Trainer:
    def __init__(self, model, lr):
        self.model = model
        self.criterion = nn.MSELoss()
        self.opt = torch.optim.Adam(model.parameters(), lr=lr)

    def train_epoch(self, loader):
        total = 0
        for x, target in loader:
            pred = self.model(x)
            loss = self.criterion(pred, target)
            self.opt.zero_grad()
            loss.backward()
            self.opt.step()
            total += loss.item()
        return total / len(loader)

    @torch.no_grad()
    def r2(self, data):
        pred = self.model(data.x)[:, 0]
        return 1 - ((pred - data.y) ** 2).mean().item() / data.y.var().item()


torch.manual_seed(0)
train_set, test_set = Friedman(800, 0), Friedman(300, 1)
trainer = Trainer(nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 1)), lr=5e-3)
for epoch in range(10):
    loss = trainer.train_epoch(DataLoader(train_set, batch_size=32, shuffle=True))
    print(f"epoch {epoch}: loss {loss:.3f} test R2 {trainer.r2(test_set):.3f}")
