import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import spectral_norm

torch.manual_seed(0)


def sample_real(n):
    angle = torch.rand(n) * 3.1416
    return torch.stack([torch.cos(angle), torch.sin(angle)], 1) + 0.05 * torch.randn(n, 2)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = spectral_norm(nn.Linear(2, 48))
        self.l2 = spectral_norm(nn.Linear(48, 48))
        self.l3 = spectral_norm(nn.Linear(48, 1))

    def forward(self, x):
        h = F.leaky_relu(self.l1(x), 0.2)
        return self.l3(F.leaky_relu(self.l2(h), 0.2)) * 3


class Maker(nn.Sequential):
    def __init__(self, nz=4):
        super().__init__(nn.Linear(nz, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2))
        self.nz = nz

    def draw(self, n):
        return self(torch.randn(n, self.nz))


critic, maker = Critic(), Maker()
opt_c = torch.optim.Adam(critic.parameters(), lr=4e-3, betas=(0.0, 0.9))
opt_m = torch.optim.Adam(maker.parameters(), lr=1e-3, betas=(0.0, 0.9))
for step in range(1, 301):
    with torch.no_grad():
        fake = maker.draw(64)
    loss_c = F.relu(1 - critic(sample_real(64))).mean() + F.relu(1 + critic(fake)).mean()
    opt_c.zero_grad()
    loss_c.backward()
    opt_c.step()

    loss_m = -critic(maker.draw(64)).mean()
    opt_m.zero_grad()
    loss_m.backward()
    opt_m.step()
    if step % 60 == 0:
        with torch.no_grad():
            radius = maker.draw(500).norm(dim=1)
        print(f"{step}: critic {loss_c.item():.3f} maker {loss_m.item():.3f} radius {radius.mean():.2f} +- {radius.std():.2f}")
