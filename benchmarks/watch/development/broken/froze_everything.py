import torch
import torch.nn as nn
from digits import load_digits

torch.manual_seed(0)
x_train, y_train, x_test, y_test = load_digits()


class Affine(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x * self.scale + self.shift


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 32), nn.ReLU())
        self.classifier = nn.Linear(32, 2)

    def forward(self, x):
        return self.classifier(self.features(x))


def run(model, labels, epochs, optimizer):
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        for idx in torch.randperm(len(x_train)).split(64):
            optimizer.zero_grad()
            loss = criterion(model(x_train[idx]), labels[idx])
            loss.backward()
            optimizer.step()
        print("epoch", epoch + 1, "loss", loss.item())


net = Backbone()
run(net, (y_train >= 5).long(), 3, torch.optim.Adam(net.parameters(), 3e-3))

print("fine-tuning")
net.classifier = nn.Linear(32, 10)
for p in net.parameters():
    p.requires_grad = False
model = nn.Sequential(net, Affine())
run(model, y_train, 6, torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2))
print("test accuracy", (model(x_test).argmax(1) == y_test).float().mean().item())
