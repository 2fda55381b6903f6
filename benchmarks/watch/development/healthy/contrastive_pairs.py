import torch
import torch.nn as nn
import torch.nn.functional as F
from digits import load_digits

torch.manual_seed(0)
x_train, y_train, x_test, y_test = load_digits(flat=True)


def augment(x):
    mask = (torch.rand_like(x) > 0.15).float()
    return x * mask + 0.1 * torch.randn_like(x)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(196, 96), nn.ReLU(), nn.Linear(96, 32))
        self.project = nn.Linear(32, 16)

    def forward(self, x):
        h = self.body(x)
        return h, F.normalize(self.project(F.relu(h)), dim=1)


def info_nce(a, b, temperature=0.2):
    logits = a @ b.t() / temperature
    labels = torch.arange(len(a))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2


def knn_accuracy(enc):
    with torch.no_grad():
        train, test = F.normalize(enc(x_train)[0], dim=1), F.normalize(enc(x_test)[0], dim=1)
        return (y_train[(test @ train.t()).argmax(1)] == y_test).float().mean().item()


enc = Encoder()
opt = torch.optim.Adam(enc.parameters(), 2e-3)
print("before", knn_accuracy(enc))
for epoch in range(8):
    for idx in torch.randperm(len(x_train)).split(100):
        loss = info_nce(enc(augment(x_train[idx]))[1], enc(augment(x_train[idx]))[1])
        opt.zero_grad()
        loss.backward()
        opt.step()
    print("epoch", epoch, "loss", round(loss.item(), 3), "knn", knn_accuracy(enc))
