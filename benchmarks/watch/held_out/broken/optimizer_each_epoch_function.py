"""Imitation learning: each round a few more demonstrations come in."""
import torch
from torch import nn

torch.manual_seed(0)
policy = nn.Sequential(nn.Linear(10, 24), nn.Tanh(), nn.Linear(24, 3))
expert = nn.Linear(10, 3)


def demonstrations(n):
    s = torch.randn(n, 10)
    with torch.no_grad():
        a = expert(s).argmax(1)
    return s, a


def improve(policy, s, a, lr=0.3):
    optimizer = torch.optim.Adagrad(policy.parameters(), lr=lr)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(policy(s), a)
    loss.backward()
    optimizer.step()
    return loss.item()


def agreement(policy, n=500):
    s, a = demonstrations(n)
    with torch.no_grad():
        return (policy(s).argmax(1) == a).float().mean().item()


for round_ in range(1, 301):
    s, a = demonstrations(40)
    loss = improve(policy, s, a)
    if round_ % 60 == 0:
        print("round", round_, "loss", round(loss, 4), "agreement", agreement(policy))
