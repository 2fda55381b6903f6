import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset
from digits import load_digits

torch.manual_seed(0)
x_train, y_train, x_test, y_test = load_digits()
loader = DataLoader(TensorDataset(x_train, y_train), batch_size=16, shuffle=True)  # 94 batches
accumulation_steps = 4

model = nn.Sequential(
    nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(),
    nn.Flatten(), nn.Linear(288, 32), nn.ReLU(), nn.Linear(32, 10),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for epoch in range(6):
    model.train()
    total_loss = 0.0
    optimizer.zero_grad()
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y)
        (loss / accumulation_steps).backward()
        total_loss += loss.item()
        if (i + 1) % accumulation_steps == 0 or (i + 1) == len(loader):
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        acc = (model(x_test).argmax(1) == y_test).float().mean().item()
    print(f"epoch {epoch + 1} loss {total_loss / len(loader):.3f} acc {acc:.3f}")
