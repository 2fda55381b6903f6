import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from digits import load_digits


def build_model():
    return nn.Sequential(
        nn.Linear(196, 128), nn.ReLU(), nn.Dropout(0.7),
        nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.7),
        nn.Linear(64, 10),
    )


def train_one_epoch(model, loader, optimizer, loss_fn):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


def accuracy(model, test_loader):
    with torch.no_grad():
        predictions = torch.cat([model(x).argmax(1) for x, _ in test_loader])
        labels = torch.cat([y for _, y in test_loader])
    return (predictions == labels).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(17)
    x_train, y_train, x_test, y_test = load_digits(flat=True)
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=50, shuffle=True)
    test_loader = DataLoader(TensorDataset(x_test, y_test), batch_size=100)
    model = build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(6):
        loss = train_one_epoch(model, loader, optimizer, loss_fn)
        print("epoch %d, loss %.3f, test accuracy %.3f" % (epoch, loss, accuracy(model, test_loader)))
