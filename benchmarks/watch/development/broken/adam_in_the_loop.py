import torch
import torch.nn as nn

torch.manual_seed(4)


def get_data(n=600):
    x = torch.rand(n, 2) * 6 - 3
    y = ((x[:, 0] ** 2 + x[:, 1] ** 2) < 4).long()
    return x, y


def get_model():
    return nn.Sequential(nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 2))


def train_step(model, x, y, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.95)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(model, x, y):
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


x, y = get_data()
x_val, y_val = get_data(300)
model = get_model()
for epoch in range(15):
    losses = []
    for idx in torch.randperm(len(x)).chunk(20):
        losses.append(train_step(model, x[idx], y[idx], lr=0.01))
    print(f"[{epoch:2d}] loss {sum(losses) / len(losses):.4f}  val acc {evaluate(model, x_val, y_val):.3f}")
