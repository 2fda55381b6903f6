import torch
import torch.nn as nn

torch.manual_seed(9)
N = 800
X = torch.randn(N, 10)
W1, W2 = torch.randn(10), torch.randn(10)
y_reg = X @ W1 * 0.5 + 0.1 * torch.randn(N)
y_cls = (X @ W2 > 0).float()


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(10, 32), nn.ReLU())
        self.reg = nn.Linear(32, 1)
        self.cls = nn.Linear(32, 1)

    def forward(self, x):
        h = self.shared(x)
        return self.reg(h).squeeze(-1), self.cls(h).squeeze(-1)


def multitask_loss(outputs, targets):
    terms = [nn.functional.mse_loss(outputs[0], targets[0]),
             nn.functional.binary_cross_entropy_with_logits(outputs[1], targets[1])]
    total = sum(t.item() for t in terms)
    loss = torch.tensor(total / len(terms), requires_grad=True)
    return loss


model = TwoHeads()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(10):
    perm = torch.randperm(N)
    for start in range(0, N, 40):
        idx = perm[start:start + 40]
        opt.zero_grad()
        loss = multitask_loss(model(X[idx]), (y_reg[idx], y_cls[idx]))
        loss.backward()
        opt.step()
    with torch.no_grad():
        r, c = model(X)
        print("epoch", epoch, "mse %.3f" % (r - y_reg).pow(2).mean().item(), "acc %.3f" % ((c > 0).float() == y_cls).float().mean().item())
