import torch
from torch import nn
from imageset import load


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base_optimizer, rho=0.05, **kwargs):
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self):
        norm = torch.norm(torch.stack([p.grad.norm() for g in self.param_groups for p in g["params"] if p.grad is not None]))
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["old"] = p.data.clone()
                    p.add_(p.grad * (group["rho"] / (norm + 1e-12)))
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.data = self.state[p]["old"]
        self.base_optimizer.step()
        self.zero_grad()


torch.manual_seed(5)
x, y = map(torch.from_numpy, load("train", 1200))
xt, yt = map(torch.from_numpy, load("test", 400))
net = nn.Sequential(nn.Flatten(), nn.Linear(49, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = SAM(net.parameters(), torch.optim.SGD, rho=0.1, lr=0.1, momentum=0.9)
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
for epoch in range(6):
    for i in torch.randperm(len(x)).split(60):
        loss = criterion(net(x[i]), y[i])
        loss.backward()
        optimizer.first_step()
        criterion(net(x[i]), y[i]).backward()
        optimizer.second_step()
    with torch.no_grad():
        print("epoch", epoch, "loss", round(loss.item(), 3), "test", (net(xt).argmax(1) == yt).float().mean().item())
