import numpy as np
import torch
import torch.nn as nn

torch.manual_seed(0)
np.random.seed(0)
BATCH = 30
shapes = ["sine", "saw", "square", "pulse"]


def make(shape, n, width=32):
    t = np.linspace(0, 4 * np.pi, width)[None, :] + np.random.rand(n, 1) * 2 * np.pi
    wave = {"sine": np.sin(t), "saw": (t % (2 * np.pi)) / np.pi - 1,
            "square": np.sign(np.sin(t)), "pulse": np.where(np.sin(t) > 0.8, 1.0, -0.3)}[shape]
    return wave + 0.2 * np.random.randn(n, width)


X, Y = [], []
for label, shape in enumerate(shapes):
    X.append(make(shape, 300))
    Y += [label] * 300
X = torch.tensor(np.concatenate(X), dtype=torch.float32)
Y = torch.tensor(Y)
X_test = torch.tensor(np.concatenate([make(s, 50) for s in shapes]), dtype=torch.float32)
Y_test = torch.arange(4).repeat_interleave(50)

model = nn.Sequential(nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
lossf = nn.CrossEntropyLoss()
for epoch in range(8):
    losses = []
    for start in range(0, len(X), BATCH):
        Xb, Yb = X[start:start + BATCH], Y[start:start + BATCH]
        loss = lossf(model(Xb), Yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    acc = (model(X_test).argmax(1) == Y_test).float().mean().item()
    print('epoch %d   loss %.4f   test accuracy %.3f' % (epoch + 1, np.mean(losses), acc))
