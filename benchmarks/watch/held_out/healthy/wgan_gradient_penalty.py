import torch
from torch import nn, autograd

torch.manual_seed(1)
LAMBDA, CRITIC_ITERS, BATCH = 1.0, 5, 64


def real_data(n):
    z = torch.randn(n, 2)
    return torch.stack([2 + 0.5 * z[:, 0], -1 + 0.3 * z[:, 0] + 0.4 * z[:, 1]], 1)


def mlp(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, 32), nn.LeakyReLU(0.1), nn.Linear(32, 32), nn.LeakyReLU(0.1), nn.Linear(32, n_out))


def gradient_penalty(critic, real, fake):
    alpha = torch.rand(real.size(0), 1)
    between = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    score = critic(between)
    grad = autograd.grad(score, between, torch.ones_like(score), create_graph=True, retain_graph=True)[0]
    return LAMBDA * ((grad.norm(2, dim=1) - 1) ** 2).mean()


G, D = mlp(2, 2), mlp(2, 1)
optG = torch.optim.Adam(G.parameters(), lr=2e-3, betas=(0.5, 0.9))
optD = torch.optim.Adam(D.parameters(), lr=2e-3, betas=(0.5, 0.9))

for it in range(1, 121):
    for p in D.parameters():
        p.requires_grad = True
    for _ in range(CRITIC_ITERS):
        real, fake = real_data(BATCH), G(torch.randn(BATCH, 2)).detach()
        optD.zero_grad()
        wasserstein = D(real).mean() - D(fake).mean()
        (-wasserstein + gradient_penalty(D, real, fake)).backward()
        optD.step()
    for p in D.parameters():
        p.requires_grad = False
    optG.zero_grad()
    (-D(G(torch.randn(BATCH, 2))).mean()).backward()
    optG.step()
    if it % 30 == 0:
        with torch.no_grad():
            s = G(torch.randn(2000, 2))
        print(it, 'W %.3f' % wasserstein.item(), 'mean', [round(v, 2) for v in s.mean(0).tolist()], 'std', [round(v, 2) for v in s.std(0).tolist()])
