import numpy as np
import torch
import torch.nn as nn

np.random.seed(3)
torch.manual_seed(3)
nz = 3


def data(n):
    return torch.tensor(np.random.randn(n, 1) * 0.4 + 1.5, dtype=torch.float32)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(nz, 24), nn.ReLU(True), nn.Linear(24, 24), nn.ReLU(True), nn.Linear(24, 1))

    def forward(self, z):
        return self.net(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 24), nn.LeakyReLU(0.2), nn.Linear(24, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1), nn.Sigmoid())

    def forward(self, x):
        return self.net(x)


netG, netD = Generator(), Discriminator()
criterion = nn.BCELoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-3, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=1e-3, betas=(0.5, 0.999))
real_label, fake_label = 1.0, 0.0
b = 64

for i in range(400):
    netD.zero_grad()
    label = torch.full((b, 1), real_label)
    errD_real = criterion(netD(data(b)), label)
    errD_real.backward()
    fake = netG(torch.randn(b, nz))
    label.fill_(fake_label)
    errD_fake = criterion(netD(fake.detach()), label)
    errD_fake.backward()
    optimizerD.step()

    netG.zero_grad()
    label.fill_(real_label)
    errG = criterion(netD(fake), label)
    errG.backward()
    optimizerG.step()
    if i % 80 == 0:
        print('[%d/400] Loss_D: %.4f Loss_G: %.4f' % (i, (errD_real + errD_fake).item(), errG.item()))

with torch.no_grad():
    s = netG(torch.randn(1000, nz))
print('mean:', s.mean().item(), 'std:', s.std().item())
