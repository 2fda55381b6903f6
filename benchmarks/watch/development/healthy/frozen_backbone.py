import torch
import torch.nn as nn
from digits import load_digits

torch.manual_seed(0)
x_train, y_train, x_test, y_test = load_digits()


def make_backbone():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten())


def accuracy(model, labels):
    model.eval()
    with torch.no_grad():
        return (model(x_test).argmax(1) == labels).float().mean().item()


# pretraining: is it a digit with a loop
loops = torch.tensor([1, 0, 0, 0, 0, 0, 1, 0, 1, 1])
backbone = make_backbone()
pre = nn.Sequential(backbone, nn.Linear(64, 2))
opt = torch.optim.Adam(pre.parameters(), 3e-3)
for epoch in range(3):
    pre.train()
    for idx in torch.randperm(len(x_train)).split(50):
        opt.zero_grad()
        nn.functional.cross_entropy(pre(x_train[idx]), loops[y_train[idx]]).backward()
        opt.step()
print("pretrained", accuracy(pre, loops[y_test]))

for param in backbone.parameters():
    param.requires_grad = False
head = nn.Linear(64, 10)
model = nn.Sequential(backbone, head)
opt = torch.optim.Adam(head.parameters(), 1e-2)
for epoch in range(5):
    model.train()
    backbone.eval()  # keep the running statistics
    for idx in torch.randperm(len(x_train)).split(50):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(x_train[idx]), y_train[idx])
        loss.backward()
        opt.step()
    print("epoch", epoch, "loss", loss.item(), "acc", accuracy(model, y_test))
