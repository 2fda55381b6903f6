import torch
import torch.nn as nn
import torch.nn.functional as F
from digits import load_digits

torch.manual_seed(0)
x_train, _, x_test, _ = load_digits(flat=True)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(196, 64)
        self.mu = nn.Linear(64, 4)
        self.logvar = nn.Linear(64, 4)
        self.fc2 = nn.Linear(4, 64)
        self.fc3 = nn.Linear(64, 196)

    def forward(self, x):
        h = F.relu(self.fc1(x))
        mu, logvar = self.mu(h), self.logvar(h).clamp(-4, 4)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return torch.sigmoid(self.fc3(F.relu(self.fc2(z)))), mu, logvar


def bound(x, x_hat, mu, logvar):
    rec = -F.mse_loss(x_hat, x, reduction="sum") / len(x)
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp()) / len(x)
    elbo = rec - kl
    return elbo


vae = VAE()
opt = torch.optim.Adam(vae.parameters(), lr=1e-3)
for it in range(240):
    x = x_train[torch.randint(0, len(x_train), (64,))]
    x_hat, mu, logvar = vae(x)
    elbo = bound(x, x_hat, mu, logvar)
    opt.zero_grad()
    elbo.backward()
    opt.step()
    if it % 40 == 0:
        print("iter", it, "elbo", round(elbo.item(), 2))
with torch.no_grad():
    x_hat, mu, _ = vae(x_test)
print("test reconstruction error per pixel:", F.mse_loss(x_hat, x_test).item())
