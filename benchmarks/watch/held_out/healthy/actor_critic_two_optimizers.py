import torch
import torch.nn as nn
from torch.distributions import Normal

torch.manual_seed(0)


class Actor(nn.Module):
    def __init__(self):
        super().__init__()
        self.mu = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
        self.log_std = nn.Parameter(torch.zeros(1) - 0.5)

    def forward(self, s):
        return Normal(self.mu(s), self.log_std.exp())


def act_in_world(s, a):
    """Reward for steering towards the product of the two state variables."""
    return -(a.squeeze(-1) - s[:, 0] * s[:, 1]).abs()


actor = Actor()
critic = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
actor_opt = torch.optim.Adam(actor.parameters(), lr=5e-3)
critic_opt = torch.optim.Adam(critic.parameters(), lr=1e-2)
rewards = []

for update in range(1, 401):
    state = torch.rand(128, 2) * 2 - 1
    dist = actor(state)
    action = dist.sample()
    reward = act_in_world(state, action)
    value = critic(state).squeeze(-1)

    critic_loss = nn.functional.mse_loss(value, reward)
    critic_opt.zero_grad()
    critic_loss.backward()
    critic_opt.step()

    advantage = reward - value.detach()
    actor_loss = -(dist.log_prob(action).squeeze(-1) * advantage).mean() - 1e-3 * dist.entropy().mean()
    actor_opt.zero_grad()
    actor_loss.backward()
    actor_opt.step()
    rewards.append(reward.mean().item())
    if update % 80 == 0:
        print(f"update {update} reward {sum(rewards[-80:]) / 80:.3f} actor {actor_loss.item():+.3f} critic {critic_loss.item():.3f}")
