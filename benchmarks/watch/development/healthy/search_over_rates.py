import itertools
import torch
import torch.nn as nn
from digits import load_digits

x_train, y_train, x_val, y_val = load_digits(n_train=800, n_test=300, flat=True)


def build(width):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(196, width), nn.ReLU(), nn.Linear(width, 10))


def run(lr, width, epochs=4):
    model = build(width)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        for idx in torch.randperm(len(x_train)).split(40):
            optimizer.zero_grad()
            loss = loss_fn(model(x_train[idx]), y_train[idx])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return (model(x_val).argmax(1) == y_val).float().mean().item()


results = {}
for lr, width in itertools.product([0.01, 0.03, 0.1], [16, 32]):
    results[lr, width] = run(lr, width)
    print(f"lr={lr:<5} width={width:<3} val acc={results[lr, width]:.3f}")
best = max(results, key=results.get)
print("best:", best, results[best])
