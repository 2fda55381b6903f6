import torch
from torch import nn
from torch.utils.data import DataLoader, random_split, TensorDataset

torch.manual_seed(12)

# stars, one to five, of a review that is described by eight numbers
features = torch.randn(900, 8)
quality = features[:, 0] - 0.5 * features[:, 3] + 0.8 * features[:, 5]
stars = torch.bucketize(quality, torch.tensor([-1.2, -0.4, 0.4, 1.2]))
train_set, test_set = random_split(TensorDataset(features, stars), [700, 200])
train_loader = DataLoader(train_set, batch_size=35, shuffle=True)
test_loader = DataLoader(test_set, batch_size=200)

model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 5))
mse = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)


def run_epoch():
    total = 0.0
    for x, labels in train_loader:
        probabilities = model(x).softmax(dim=1)
        predicted = probabilities.argmax(dim=1).float().requires_grad_()
        loss = mse(predicted, labels.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(train_loader)


def test_error():
    with torch.no_grad():
        x, labels = next(iter(test_loader))
        expected = (model(x).softmax(1) * torch.arange(5.0)).sum(1)
        return (expected.round() - labels).abs().mean().item()


for epoch in range(8):
    print(f"epoch {epoch} loss {run_epoch():.4f} error in stars {test_error():.3f}")
