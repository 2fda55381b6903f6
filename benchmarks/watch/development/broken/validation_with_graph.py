import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset
from digits import load_digits

torch.manual_seed(0)
x_train, y_train, x_val, y_val = load_digits(n_train=800, n_test=400)
train_dl = DataLoader(TensorDataset(x_train, y_train), batch_size=40, shuffle=True)
val_dl = DataLoader(TensorDataset(x_val, y_val), batch_size=100)


class SimpleCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16 * 49, 10)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc(x.flatten(1))


model = SimpleCNN()
loss_fn = nn.CrossEntropyLoss()
opt = torch.optim.Adam(model.parameters(), lr=1e-3)
val_losses = []

for epoch in range(5):
    model.train()
    for x, y in train_dl:
        opt.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        opt.step()
    model.eval()
    for x, y in val_dl:
        val_losses.append(loss_fn(model(x), y))
    print(f"epoch {epoch} train {loss.item():.3f} val {torch.stack(val_losses[-4:]).mean().item():.3f}")
print("best batch", min(val_losses).item())
