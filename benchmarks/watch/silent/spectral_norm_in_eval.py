import warnings
import torch
import torch.nn as nn
from torch.nn.utils import spectral_norm

warnings.filterwarnings("ignore")
torch.manual_seed(0)


class Critic(nn.Module):
    """A 1-Lipschitz function that tells two clouds apart: its mean difference estimates the transport cost."""

    def __init__(self):
        super().__init__()
        self.fc1 = spectral_norm(nn.Linear(4, 64))
        self.fc2 = spectral_norm(nn.Linear(64, 64))
        self.fc3 = spectral_norm(nn.Linear(64, 1))

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        return self.fc3(x).squeeze(1)


def clouds(n):
    return torch.randn(n, 4), torch.randn(n, 4) + torch.tensor([2.0, 0.0, 0.0, 0.0])


critic = Critic()
critic.eval()
for layer in (critic.fc1, critic.fc2, critic.fc3):
    print("largest singular value", torch.linalg.svdvals(layer.weight.detach())[0].item())

optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3)
for step in range(1, 401):
    a, b = clouds(128)
    x = torch.cat([a, b])
    scores = critic(x)
    loss = scores[:128].mean() - scores[128:].mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 80 == 0:
        print("step", step, "estimated distance %.3f (at most 2)" % -loss.item())
