import numpy as np
import torch
from torch import nn

torch.manual_seed(0)


def worker(base_seed, batches, size=16):
    """Draws random pieces of a long recording, with noise added, in one reader."""
    np.random.seed(base_seed)
    for _ in range(batches):
        start = np.random.uniform(0, 60, size)
        kind = np.random.randint(0, 3, size)
        t = start[:, None] + np.arange(24)[None, :]
        tone = np.where(kind[:, None] == 0, np.sin(0.5 * t), np.where(kind[:, None] == 1, np.sin(0.8 * t), np.sin(0.65 * t) * np.cos(0.15 * t)))
        yield torch.tensor(tone + 0.8 * np.random.randn(size, 24), dtype=torch.float32), torch.tensor(kind)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(1, 16, 7), nn.ReLU(), nn.Conv1d(16, 16, 5), nn.ReLU())
        self.head = nn.Linear(16 * 14, 3)

    def forward(self, x):
        return self.head(self.body(x[:, None]).flatten(1))


test_x, test_y = next(worker(1000, 1, 600))
net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(1, 7):
    for _ in range(10):
        for batch in worker(base_seed=7, batches=4):
            inputs, kinds = batch
            loss = nn.functional.cross_entropy(net(inputs), kinds)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        acc = (net(test_x).argmax(1) == test_y).float().mean().item()
    print("epoch", epoch, "loss", round(loss.item(), 4), "accuracy on new pieces", round(acc, 3))
