import torch
import torch.nn as nn
import numpy as np


def init_weights(m):
    if isinstance(m, nn.Linear):
        nn.init.xavier_uniform_(m.weight)
        nn.init.constant_(m.bias, 0.0)


class Experiment:
    def __init__(self, net, lr):
        self.net = net
        self.opt = torch.optim.Adam(net.parameters(), lr=lr)
        self.crit = nn.MSELoss()

    def before_epoch(self):
        self.net.apply(init_weights)
        self.net.train()

    def run_epoch(self, X, y, bs=40):
        self.before_epoch()
        tot = []
        for sel in torch.randperm(len(X)).split(bs):
            self.opt.zero_grad()
            l = self.crit(self.net(X[sel]), y[sel])
            l.backward()
            self.opt.step()
            tot.append(l.item())
        return np.mean(tot), tot[-1]


torch.manual_seed(0)
np.random.seed(0)
# damped pendulum: angle at the time t for a start angle and a damping
theta0, damp, t = np.random.uniform(.2, 1., 800), np.random.uniform(.05, .5, 800), np.random.uniform(0, 3, 800)
X = torch.tensor(np.stack([theta0, damp, t / 1.5 - 1], 1), dtype=torch.float32)
y = torch.tensor((theta0 * np.exp(-damp * t) * np.cos(2 * t))[:, None], dtype=torch.float32)
exp = Experiment(nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)), lr=3e-3)
for epoch in range(20):
    mean, last = exp.run_epoch(X, y)
    if epoch % 4 == 3:
        print('Epoch: %d, mean loss: %.5f, last loss: %.5f' % (epoch + 1, mean, last))
