import torch
import torch.nn as nn
import torch.nn.functional as F
from digits import load_digits

torch.manual_seed(0)
x_train, y_train, x_test, y_test = load_digits(flat=True)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc0 = nn.Linear(196, 64)
        self.fc1 = nn.Linear(64, 64)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.fc0(x))
        x = F.relu(self.fc1(x))
        return self.fc(x)


def fit(model, opt, x, y, epochs):
    for e in range(epochs):
        for idx in torch.randperm(len(x)).split(50):
            opt.zero_grad()
            loss = F.cross_entropy(model(x[idx]), y[idx])
            loss.backward()
            opt.step()
        print("  epoch", e, "loss", round(loss.item(), 3))


# pretrain on parity, as 10-way classification, then transfer to the first five digits
model = Net()
pre = torch.optim.SGD(model.parameters(), lr=0.05)
fit(model, pre, x_train, y_train % 2, 3)

keep, keep_test = y_train < 5, y_test < 5
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
model.fc = nn.Linear(64, 5)
for p in model.fc0.parameters():
    p.requires_grad = False
for p in model.fc1.parameters():
    p.requires_grad = False
fit(model, optimizer, x_train[keep], y_train[keep], 6)
with torch.no_grad():
    acc = (model(x_test[keep_test]).argmax(1) == y_test[keep_test]).float().mean()
print("accuracy on digits 0-4:", acc.item())
