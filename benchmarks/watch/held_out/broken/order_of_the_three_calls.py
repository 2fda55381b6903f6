import numpy as np
import torch
from torch.nn import BCEWithLogitsLoss, Linear, Module, ReLU, Sequential
from torch.optim import RMSprop


class Perceptron(Module):
    def __init__(self, n_in):
        super().__init__()
        self.model = Sequential(Linear(n_in, 20), ReLU(), Linear(20, 1))

    def forward(self, x):
        return self.model(x)


def simulate(n, seed):
    """Patients: age, pressure, marker -> ill or not"""
    rng = np.random.default_rng(seed)
    age, pressure, marker = rng.normal(50, 15, n), rng.normal(120, 12, n), rng.exponential(1.0, n)
    risk = 0.05 * (age - 50) + 0.08 * (pressure - 120) + 1.2 * (marker - 1)
    ill = (risk + 0.3 * rng.standard_normal(n) > 0).astype("float32")
    table = np.column_stack([(age - 50) / 15, (pressure - 120) / 12, marker - 1]).astype("float32")
    return torch.from_numpy(table), torch.from_numpy(ill).reshape(-1, 1)


def train(net, x, t, epochs=10, batch=32):
    objective = BCEWithLogitsLoss()
    optimiser = RMSprop(net.parameters(), lr=3e-3)
    for epoch in range(epochs):
        shuffled = torch.randperm(x.size(0))
        accumulated = 0.0
        for first in range(0, x.size(0), batch):
            chosen = shuffled[first:first + batch]
            optimiser.zero_grad()
            batch_loss = objective(net(x[chosen]), t[chosen])
            optimiser.step()
            batch_loss.backward()
            accumulated += batch_loss.item() * len(chosen)
        print("epoch", epoch + 1, "loss", accumulated / x.size(0))


torch.manual_seed(77)
x, t = simulate(800, 1)
x_new, t_new = simulate(300, 2)
net = Perceptron(3)
train(net, x, t)
print("accuracy on new patients", ((net(x_new) > 0) == (t_new > 0.5)).float().mean().item())
