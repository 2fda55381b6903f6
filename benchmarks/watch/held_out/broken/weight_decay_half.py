import torch
import torch.nn as nn
import torch.nn.functional as F
import imageset

torch.manual_seed(1)
X, Y = imageset.load('train', 1500)
Xt, Yt = imageset.load('test', 400)
X, Y, Xt, Yt = [torch.from_numpy(v) for v in (X, Y, Xt, Yt)]
X, Xt = X[:, None], Xt[:, None]


class BasicBlock(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.conv1 = nn.Conv2d(ch, ch, 3, padding=1)
        self.conv2 = nn.Conv2d(ch, ch, 3, padding=1)

    def forward(self, x):
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class ResNetTiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, padding=1)
        self.block = BasicBlock(12)
        self.linear = nn.Linear(12 * 9, 10)

    def forward(self, x):
        out = self.block(F.relu(self.conv(x)))
        out = F.max_pool2d(out, 2)
        return self.linear(out.flatten(1))


net = ResNetTiny()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=0.5)
for epoch in range(5):
    net.train()
    correct, train_loss = 0, 0.0
    for idx in torch.randperm(len(X)).split(75):
        optimizer.zero_grad()
        outputs = net(X[idx])
        loss = F.cross_entropy(outputs, Y[idx])
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * len(idx)
        correct += outputs.argmax(1).eq(Y[idx]).sum().item()
    net.eval()
    with torch.no_grad():
        test_acc = net(Xt).argmax(1).eq(Yt).float().mean().item()
    print(f'Epoch {epoch}  Loss: {train_loss / len(X):.3f}  Acc: {100. * correct / len(X):.1f}%  Test: {100. * test_acc:.1f}%')
