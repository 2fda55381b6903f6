import torch
from torch import nn


class Perceptron(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(n), requires_grad=False)
        self.b = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x):
        return torch.where(x @ self.w + self.b > 0, 1.0, -1.0)


torch.manual_seed(0)
X = torch.randn(400, 5)
true = torch.tensor([1.0, -2.0, 0.5, 0.0, 1.5])
X = X[(X @ true).abs() > 0.3]
T = torch.sign(X @ true + 0.1)
net = Perceptron(5)

for sweep in range(15):
    wrong = 0
    with torch.no_grad():
        for x, t in zip(X, T):
            if net(x[None])[0] != t:
                net.w += t * x
                net.b += t
                wrong += 1
    print(f"sweep {sweep + 1}: {wrong} corrections")
    if wrong == 0:
        break
print("weights", [round(v, 2) for v in (net.w / net.w.norm()).tolist()])
print("accuracy", (net(X) == T).float().mean().item())
