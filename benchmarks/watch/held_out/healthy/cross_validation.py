import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

rng = np.random.default_rng(0)
x = rng.normal(size=(500, 6)).astype("float32")
y = (np.tanh(x[:, 0] * 2) + x[:, 1] * x[:, 2] + 0.1 * rng.normal(size=500)).astype("float32")
dataset = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Dropout(0.05), nn.Linear(40, 1))

    def forward(self, x):
        return self.layers(x).squeeze(-1)


def reset_weights(m):
    if hasattr(m, "reset_parameters"):
        m.reset_parameters()


k_folds = 5
scores = {}
torch.manual_seed(42)
folds = np.array_split(rng.permutation(500), k_folds)
for fold in range(k_folds):
    train_ids = np.concatenate([f for j, f in enumerate(folds) if j != fold])
    trainloader = DataLoader(Subset(dataset, train_ids.tolist()), batch_size=40, shuffle=True)
    testloader = DataLoader(Subset(dataset, folds[fold].tolist()), batch_size=100)
    network = Net()
    network.apply(reset_weights)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for epoch in range(10):
        network.train()
        for inputs, targets in trainloader:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(network(inputs), targets)
            loss.backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        scores[fold] = np.mean([nn.functional.mse_loss(network(a), b).item() for a, b in testloader])
    print(f"fold {fold}: test mse {scores[fold]:.4f}")
print(f"average {np.mean(list(scores.values())):.4f}, variance of the targets {y.var():.4f}")
