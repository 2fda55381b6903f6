import numpy as np
import torch
import torch.nn as nn

config = dict(lr=5e-3, hidden=48, epochs=15, seed=11)
torch.manual_seed(config['seed'])
rng = np.random.RandomState(config['seed'])

# three spirals
n_in, n_classes, per = 2, 3, 150
X = np.zeros((per * n_classes, n_in), dtype=np.float32)
Y = np.zeros(per * n_classes, dtype=np.int64)
for c in range(n_classes):
    r = np.linspace(0.05, 1, per)
    t = np.linspace(c * 4, (c + 1) * 4, per) + rng.randn(per) * 0.15
    X[c * per:(c + 1) * per] = np.c_[r * np.sin(t), r * np.cos(t)]
    Y[c * per:(c + 1) * per] = c
X, Y = torch.from_numpy(X), torch.from_numpy(Y)


class Classifier(nn.Module):
    def __init__(self, n_in, hidden, n_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, n_classes)

    def forward(self, x):
        return self.head(self.body(x))


model = Classifier(n_in, 32, n_classes)
print('number of parameters:', sum(p.numel() for p in model.parameters()))
optimizer = torch.optim.Adam(model.parameters(), lr=config['lr'])
loss_fn = nn.CrossEntropyLoss()
model = Classifier(n_in, config['hidden'], n_classes)

best = 0
for epoch in range(config['epochs']):
    for idx in torch.randperm(len(X)).split(30):
        optimizer.zero_grad()
        loss = loss_fn(model(X[idx]), Y[idx])
        loss.backward()
        optimizer.step()
    acc = (model(X).argmax(-1) == Y).float().mean().item()
    best = max(best, acc)
    print(f'{epoch:02d} loss={loss.item():.3f} acc={acc:.3f} best={best:.3f}')
