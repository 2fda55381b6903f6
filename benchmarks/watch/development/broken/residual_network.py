import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from blocks import Classifier

torch.manual_seed(0)


def checkerboard(n):
    x = torch.rand(n, 2) * 4
    return (x - 2) / 2, ((x[:, 0].floor() + x[:, 1].floor()) % 2).long()


train_loader = DataLoader(TensorDataset(*checkerboard(1200)), batch_size=40, shuffle=True)
x_test, y_test = checkerboard(400)
model = Classifier(n_in=2, width=32, depth=2, n_out=2)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

for epoch in range(1, 13):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    if epoch % 3 == 0:
        model.eval()
        with torch.no_grad():
            acc = (model(x_test).argmax(1) == y_test).float().mean().item()
        print(f"Epoch {epoch}: loss {loss.item():.4f}, test accuracy {acc:.3f}")
