import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from digits import load_digits

torch.manual_seed(0)
x_train, y_train, x_test, y_test = load_digits()
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=32, shuffle=True)


def make_model():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 10))


# sanity check: overfit a single batch
model = make_model()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
x, y = next(iter(train_loader))
for i in range(60):
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("single batch loss:", loss.item())
assert loss.item() < 0.1

# the real thing
model = make_model()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(5):
    for x, y in train_loader:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        acc = (model(x_test).argmax(1) == y_test).float().mean().item()
    print(f"epoch {epoch}: loss {loss.item():.3f}, test accuracy {acc:.3f}")
