import torch
import torch.nn as nn
from torch.autograd import Function

torch.manual_seed(0)


class Reverse(Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.neg() * ctx.alpha, None


class DANN(nn.Module):
    def __init__(self):
        super().__init__()
        self.feature = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.class_classifier = nn.Linear(16, 2)
        self.domain_classifier = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x, alpha):
        f = self.feature(x)
        return self.class_classifier(f), self.domain_classifier(Reverse.apply(f, alpha))


def draw(n, shift):
    y = torch.randint(0, 2, (n,))
    x = torch.randn(n, 4)
    x[:, 0] += 2.5 * (2 * y - 1)
    x[:, 1] += shift
    return x, y


model = DANN()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
loss_class, loss_domain = nn.CrossEntropyLoss(), nn.CrossEntropyLoss()
steps = 300
for i in range(steps):
    alpha = 2.0 / (1.0 + 2.718281828 ** (-10 * i / steps)) - 1
    xs, ys = draw(48, 0.0)
    xt, _ = draw(48, 3.0)
    out, dom = model(torch.cat([xs, xt]), alpha)
    err_s = loss_class(out[:48], ys)
    err_d = loss_domain(dom, torch.cat([torch.zeros(48), torch.ones(48)]).long())
    optimizer.zero_grad()
    (err_s + err_d).backward()
    optimizer.step()
    if i % 60 == 59:
        with torch.no_grad():
            xt, yt = draw(500, 3.0)
            acc = (model(xt, 0.0)[0].argmax(1) == yt).float().mean().item()
        print(f"iter {i + 1} err_s {err_s.item():.3f} err_domain {err_d.item():.3f} target acc {acc:.3f}")
