import torch
from torch import nn
import imageset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.out = nn.Linear(16, 10)

    def forward(self, x):
        tokens = torch.relu(self.conv(x)).flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.out((tokens + mixed).mean(1))


class Learner:
    def __init__(self, net, lr):
        self.net = net
        self.opt = torch.optim.Adam(net.parameters(), lr=lr)
        self.train_losses = []

    def batch(self, x, y):
        out = self.net(x)
        return nn.functional.cross_entropy(out, y), (out.argmax(1) == y).float().mean().item()

    def one_epoch(self, X, Y):
        accs = []
        for i in torch.randperm(len(X)).split(40):
            x, y = X[i], Y[i]
            loss, acc = self.batch(x, y)
            self.opt.zero_grad()
            loss.backward()
            self.opt.step()
            self.train_losses.append(loss)
            accs.append(acc)
        return sum(accs) / len(accs)


torch.manual_seed(0)
X, Y = map(torch.from_numpy, imageset.load("train", 1200))
learner = Learner(Net(), 3e-3)
for epoch in range(5):
    acc = learner.one_epoch(X.unsqueeze(1), Y)
    print("epoch", epoch, "accuracy", round(acc, 3), "mean loss", sum(learner.train_losses[-30:]).item() / 30)
