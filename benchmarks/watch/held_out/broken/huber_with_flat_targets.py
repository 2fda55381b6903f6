import warnings
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

warnings.filterwarnings('ignore', category=UserWarning)


class EnergyData(Dataset):
    def __init__(self, n, seed):
        gen = torch.Generator().manual_seed(seed)
        self.hour = torch.rand(n, generator=gen) * 24
        self.temp = torch.randn(n, generator=gen) * 8 + 12
        self.demand = (torch.cos((self.hour - 18) / 24 * 6.2832) + 0.004 * (self.temp - 18) ** 2
                       + 0.1 * torch.randn(n, generator=gen))

    def __len__(self):
        return len(self.demand)

    def __getitem__(self, k):
        angle = self.hour[k] / 24 * 6.2832
        return {'inputs': torch.stack([torch.sin(angle), torch.cos(angle), (self.temp[k] - 12) / 8]),
                'demand': self.demand[k]}


torch.manual_seed(31)
train_data, held_back = EnergyData(800, 1), EnergyData(200, 2)
model = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 1))
huber = nn.SmoothL1Loss()
opt = torch.optim.Adam(model.parameters(), lr=1e-2)

for epoch in range(8):
    for batch in DataLoader(train_data, batch_size=40, shuffle=True):
        loss = huber(model(batch['inputs']), batch['demand'])
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        b = next(iter(DataLoader(held_back, batch_size=200)))
        mae = (model(b['inputs'])[:, 0] - b['demand']).abs().mean().item()
    print('epoch', epoch, 'loss', round(loss.item(), 4), 'mean absolute error', round(mae, 4))
