import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)


class MixtureOfExperts(nn.Module):
    def __init__(self, d, names=("low", "middle", "high")):
        super().__init__()
        self.gate = nn.Linear(d, len(names))
        self.experts = {name: nn.Sequential(nn.Linear(d, 32), nn.SiLU(), nn.Linear(32, d)) for name in names}
        self.readout = nn.Linear(d, 1)

    def forward(self, x):
        weights = F.softmax(self.gate(x), dim=-1)
        stacked = torch.stack([expert(x) for expert in self.experts.values()], dim=1)
        mixed = (weights.unsqueeze(-1) * stacked).sum(dim=1)
        return self.readout(mixed).squeeze(-1)


def piecewise(n):
    x = torch.rand(n, 2) * 2 - 1
    y = torch.where(x[:, 0] < -0.3, torch.sin(6 * x[:, 1]), torch.where(x[:, 0] < 0.3, x[:, 1] ** 2 * 3, torch.cos(8 * x[:, 1])))
    return x, y


x, y = piecewise(1200)
x_val, y_val = piecewise(300)
moe = MixtureOfExperts(2)
opt = torch.optim.Adam(moe.parameters(), lr=2e-2)
for epoch in range(25):
    for b in torch.randperm(len(x)).split(60):
        opt.zero_grad(set_to_none=True)
        loss = F.mse_loss(moe(x[b]), y[b])
        loss.backward()
        opt.step()
    if epoch % 5 == 4:
        with torch.no_grad():
            print(f"epoch {epoch + 1:2d}  validation {F.mse_loss(moe(x_val), y_val).item():.4f}")
print("variance", y_val.var().item())
