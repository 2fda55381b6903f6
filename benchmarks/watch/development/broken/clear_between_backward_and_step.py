import argparse
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from digits import load_digits

parser = argparse.ArgumentParser(description="MLP on digits")
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--batch-size", type=int, default=50)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--seed", type=int, default=7)
args = parser.parse_args()

torch.manual_seed(args.seed)
x_train, y_train, x_test, y_test = load_digits(flat=True)
train_dl = DataLoader(TensorDataset(x_train, y_train), args.batch_size, shuffle=True)

model = nn.Sequential(nn.Linear(196, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)

for epoch in range(args.epochs):
    model.train()
    running = 0.0
    for xb, yb in train_dl:
        out = model(xb)
        loss = criterion(out, yb)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        running += loss.item()
    model.eval()
    with torch.no_grad():
        acc = (model(x_test).argmax(1) == y_test).float().mean().item()
    print(f"epoch {epoch + 1}: train loss {running / len(train_dl):.3f}, test acc {acc:.3f}")
