"""LSTM that tells apart sine and square waves."""
import numpy as np
import torch
import torch.nn as nn


def make_waves(n, length=20, rng=np.random.default_rng(3)):
    t = np.arange(length)
    xs, ys = [], []
    for i in range(n):
        w = rng.uniform(0.3, 0.9)
        s = np.sin(w * t + rng.uniform(0, 6))
        label = i % 2
        if label:
            s = np.sign(s)
        xs.append(s + 0.2 * rng.standard_normal(length))
        ys.append(label)
    return torch.tensor(np.array(xs), dtype=torch.float32).unsqueeze(-1), torch.tensor(ys)


class WaveNet(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 2)

    def forward(self, x):
        h, _ = self.lstm(x)
        return self.out(h.mean(1))


torch.manual_seed(0)
X, Y = make_waves(640)
Xt, Yt = make_waves(200)
model = WaveNet()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
loss_fn = nn.CrossEntropyLoss()

for epoch in range(8):
    perm = torch.randperm(len(X))
    for i in range(0, len(X), 32):
        batch = perm[i:i + 32]
        optimizer.zero_grad()
        loss = loss_fn(model(X[batch]), Y[batch])
        optimizer.step()
        loss.backward()
    with torch.no_grad():
        print("epoch", epoch, "loss", round(loss.item(), 4), "acc", (model(Xt).argmax(1) == Yt).float().mean().item())
