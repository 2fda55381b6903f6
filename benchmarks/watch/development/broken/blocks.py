import torch
from torch import nn


class ResidualBlock(nn.Module):
    """x + f(x), two linear layers."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, x):
        out = torch.relu(self.first(x))
        out = self.second(out)
        return torch.relu(x + out).data


class Classifier(nn.Module):
    def __init__(self, n_in, width, depth, n_out):
        super().__init__()
        self.stem = nn.Linear(n_in, width)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(depth)])
        self.head = nn.Linear(width, n_out)

    def forward(self, x):
        return self.head(self.blocks(torch.relu(self.stem(x))))
