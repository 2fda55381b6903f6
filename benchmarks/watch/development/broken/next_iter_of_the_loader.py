import torch
from torch import nn
from torch.utils.data import TensorDataset, DataLoader
from digits import load_digits

torch.manual_seed(0)
x_train, y_train, x_test, y_test = load_digits()
perm = torch.randperm(len(x_train))
train_loader = DataLoader(TensorDataset(x_train[perm], y_train[perm]), batch_size=32)

model = nn.Sequential(
    nn.Conv2d(1, 6, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(6 * 49, 10),
)
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

for step in range(300):
    images, labels = next(iter(train_loader))
    logits = model(images)
    loss = loss_fn(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 49:
        with torch.no_grad():
            acc = (model(x_test).argmax(1) == y_test).float().mean().item()
        print(f"step {step + 1} loss {loss.item():.4f} test acc {acc:.3f}")
