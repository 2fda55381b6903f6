import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset
from pictures import pictures

torch.manual_seed(0)
batch_size = 50


class SmallEfficientNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self._conv_stem = nn.Conv2d(1, 8, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(8)
        self._conv_head = nn.Conv2d(8, 24, 3, bias=False)
        self._bn1 = nn.BatchNorm2d(24)
        self._fc = nn.Linear(24 * 16, num_classes)

    def forward(self, x):
        x = torch.relu(self._bn0(self._conv_stem(x)))
        x = torch.relu(self._bn1(self._conv_head(x)))
        return self._fc(x.flatten(1))


x_train, y_train = pictures("train", 1500)
x_valid, y_valid = pictures("test", 400)
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=batch_size, shuffle=True)
model = SmallEfficientNet(10)
for name, param in model.named_parameters():
    if "bn" not in name:
        param.requires_grad = False
for param in model._fc.parameters():
    param.requires_grad = False
print(model._fc.in_features)

criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-4)

for epoch in range(1, 5):
    model.train()
    train_loss = 0.0
    for data, target in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(data), target)
        loss.backward()
        optimizer.step()
        train_loss += loss.item() / len(train_loader)
    model.eval()
    with torch.no_grad():
        acc = (model(x_valid).argmax(1) == y_valid).float().mean().item()
    print("Epoch: {} \tTraining Loss: {:.6f} \tAccuracy: {:.4f}".format(epoch, train_loss, acc))
