import numpy as np
import torch
import torch.nn as nn

torch.manual_seed(0)
np.random.seed(0)

latent_dim = 4
batch_size = 128


def real_batch(n):
    # a ring of eight gaussians
    k = np.random.randint(0, 8, n)
    angle = 2 * np.pi * k / 8
    pts = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.05 * np.random.randn(n, 2)
    return torch.tensor(pts, dtype=torch.float32)


generator = nn.Sequential(nn.Linear(latent_dim, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
discriminator = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
opt_g = torch.optim.SGD(generator.parameters(), lr=0.05)
opt_d = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
bce = nn.BCEWithLogitsLoss()

for it in range(400):
    # discriminator
    real = real_batch(batch_size)
    fake = generator(torch.randn(batch_size, latent_dim)).detach()
    d_loss = bce(discriminator(real), torch.ones(batch_size, 1)) + bce(discriminator(fake), torch.zeros(batch_size, 1))
    opt_d.zero_grad()
    d_loss.backward()
    opt_d.step()

    # generator
    fake = generator(torch.randn(batch_size, latent_dim))
    g_loss = bce(discriminator(fake), torch.ones(batch_size, 1))
    g_loss.backward()
    opt_g.step()

    if it % 80 == 0:
        print("[%d] d_loss %.3f g_loss %.3f" % (it, d_loss.item(), g_loss.item()))

with torch.no_grad():
    sample = generator(torch.randn(1000, latent_dim))
print("mean radius", sample.norm(dim=1).mean().item(), "radius spread", sample.norm(dim=1).std().item())
