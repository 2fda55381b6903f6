import math
import torch
import torch.nn as nn


class GaussianMixture(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(k))
        self.mean = nn.Parameter(torch.linspace(-1.5, 1.5, k))
        self.log_std = nn.Parameter(torch.zeros(k))

    def forward(self, x):
        log_std = self.log_std.clamp(-3, 3)
        z = (x[:, None] - self.mean) / log_std.exp()
        log_prob = -0.5 * z.clamp(-30, 30) ** 2 - log_std - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(self.logits.log_softmax(0) + log_prob, dim=1)


torch.manual_seed(0)
component = torch.multinomial(torch.tensor([0.2, 0.5, 0.3]), 1500, replacement=True)
x = torch.tensor([-3.0, 0.5, 4.0])[component] + torch.tensor([0.4, 0.7, 0.5])[component] * torch.randn(1500)

mixture = GaussianMixture(3)
optimizer = torch.optim.Adam(mixture.parameters(), lr=2e-2)
for epoch in range(12):
    for idx in torch.randperm(1500).split(75):
        optimizer.zero_grad()
        log_likelihood = mixture(x[idx]).mean()
        log_likelihood.backward()
        optimizer.step()
    if epoch % 3 == 2:
        print(f"epoch {epoch + 1}: log-likelihood {log_likelihood.item():.3f}")
print("means", [round(m, 2) for m in mixture.mean.tolist()], "weights", [round(w, 2) for w in mixture.logits.softmax(0).tolist()])
