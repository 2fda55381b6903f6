import torch
import torch.nn as nn
from collections import defaultdict

torch.manual_seed(0)

# denoise short signals
def signals(n, width=24):
    t = torch.linspace(0, 1, width)
    clean = torch.sin(2 * torch.pi * (torch.rand(n, 1) * 2 + 1) * t + 6 * torch.rand(n, 1))
    return clean + 0.4 * torch.randn(n, width), clean


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 12, 5, padding=2)
        self.conv2 = nn.Conv1d(12, 12, 5, padding=2)
        self.conv3 = nn.Conv1d(12, 1, 5, padding=2)

    def forward(self, x):
        h = torch.relu(self.conv1(x.unsqueeze(1)))
        h = torch.relu(self.conv2(h))
        return self.conv3(h).squeeze(1)


denoiser = Denoiser()
optimizer = torch.optim.Adam(denoiser.parameters(), lr=5e-3)
log = defaultdict(list)

for epoch in range(6):
    for _ in range(30):
        noisy, clean = signals(32)
        out = denoiser(noisy)
        losses = {'mse': (out - clean).square().mean(), 'l1': sum(p.abs().sum() for p in denoiser.parameters())}
        losses['total'] = losses['mse'] + 1e-3 * losses['l1']
        optimizer.zero_grad()
        optimizer.step()
        for name, value in losses.items():
            log[name].append(value.item())
    print('epoch', epoch, {name: round(sum(v[-30:]) / 30, 4) for name, v in log.items()})
noisy, clean = signals(300)
print('noise', (noisy - clean).square().mean().item(), 'after', (denoiser(noisy) - clean).square().mean().item())
