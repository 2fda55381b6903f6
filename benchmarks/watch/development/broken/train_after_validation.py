import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset
from digits import load_digits

torch.manual_seed(0)

x_train, y_train, x_test, y_test = load_digits()
x_train, x_test = x_train / 16, x_test / 16
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=60, shuffle=True)
valid_loader = DataLoader(TensorDataset(x_test, y_test), batch_size=100)

model = nn.Sequential(
    nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
    nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
    nn.Flatten(), nn.Linear(64, 10),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)


def validate():
    model.eval()
    hits = 0
    with torch.no_grad():
        for x, y in valid_loader:
            hits += (model(x).argmax(1) == y).sum().item()
    return hits / len(valid_loader.dataset)


print("accuracy before training", validate())
for epoch in range(6):
    for x, y in train_loader:
        output = model(x)
        loss = criterion(output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "loss", loss.item(), "accuracy", validate())
