import torch
from torch import nn
from imageset import load

torch.manual_seed(4)


class SmallNet(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3)
        self.body = nn.Linear(12 * 25, 40)
        self.fc_scale = nn.Parameter(torch.ones(1))
        self.classifier = nn.Linear(40, n_classes)

    def forward(self, x):
        h = torch.relu(self.stem(x.unsqueeze(1))).flatten(1)
        return self.classifier(torch.relu(self.body(h)) * self.fc_scale)


def epoch(net, opt, x, y):
    net.train()
    total = 0.0
    for i in torch.randperm(len(x)).split(50):
        loss = nn.functional.cross_entropy(net(x[i]), y[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        total += loss.item() * len(i)
    return total / len(x)


x, y = map(torch.from_numpy, load("train", 1500))
xt, yt = map(torch.from_numpy, load("test", 400))
net = SmallNet(2)
opt = torch.optim.Adam(net.parameters(), lr=2e-3)
for e in range(3):
    print("pretraining on odd/even", epoch(net, opt, x, y % 2))

net.classifier = nn.Linear(40, 10)
for name, param in net.named_parameters():
    if "fc" not in name:
        param.requires_grad = False
opt = torch.optim.Adam(filter(lambda p: p.requires_grad, net.parameters()), lr=5e-3)
for e in range(6):
    print("fine-tuning", epoch(net, opt, x, y))
print("accuracy", (net(xt).argmax(1) == yt).float().mean().item())
