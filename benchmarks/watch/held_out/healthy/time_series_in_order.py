import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

np.random.seed(4)
torch.manual_seed(4)
t = np.arange(2400)
demand = np.sin(2 * np.pi * t / 24) + 0.4 * np.sin(2 * np.pi * t / 168) + 0.1 * np.random.randn(len(t))
demand = torch.tensor(demand, dtype=torch.float32)
LANES, SPAN = 8, 12
lanes = demand[:2400 // LANES * LANES].view(LANES, -1)
inputs = torch.stack([lanes[:, i:i + SPAN] for i in range(0, lanes.shape[1] - SPAN, SPAN)]).flatten(0, 1).unsqueeze(-1)
wanted = torch.stack([lanes[:, i + 1:i + SPAN + 1] for i in range(0, lanes.shape[1] - SPAN, SPAN)]).flatten(0, 1).unsqueeze(-1)
loader = DataLoader(TensorDataset(inputs, wanted), batch_size=LANES, shuffle=False)


class Forecaster(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, x, state=None):
        out, state = self.lstm(x, state)
        return self.linear(out), state


model = Forecaster()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, factor=0.5)
for epoch in range(12):
    state, total = None, 0.0
    for x, y in loader:
        if state is not None:
            state = tuple(s.detach() for s in state)
        prediction, state = model(x, state)
        loss = nn.functional.mse_loss(prediction, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    plateau.step(total / len(loader))
    print("epoch", epoch, "mse", round(total / len(loader), 5), "lr", optimizer.param_groups[0]["lr"])
