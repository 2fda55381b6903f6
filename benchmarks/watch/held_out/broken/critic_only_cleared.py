# actor-critic on a contextual bandit, one optimiser for both networks
import torch
import torch.nn as nn
from torch.distributions import Categorical

torch.manual_seed(5)
N_CONTEXT, N_ARMS = 6, 5
table = torch.randn(N_CONTEXT, N_ARMS)

actor = nn.Sequential(nn.Linear(N_CONTEXT, 32), nn.ReLU(), nn.Linear(32, N_ARMS))
critic = nn.Sequential(nn.Linear(N_CONTEXT, 32), nn.ReLU(), nn.Linear(32, 1))
optim = torch.optim.SGD([*actor.parameters(), *critic.parameters()], lr=0.3)

history = []
for iteration in range(400):
    context = torch.randint(0, N_CONTEXT, (64,))
    state = nn.functional.one_hot(context, N_CONTEXT).float()
    dist = Categorical(logits=actor(state))
    action = dist.sample()
    reward = table[context, action] + 0.3 * torch.randn(64)

    value = critic(state).squeeze(-1)
    advantage = (reward - value).detach()
    actor_loss = -(dist.log_prob(action) * advantage).mean() - 0.01 * dist.entropy().mean()
    critic_loss = (value - reward).pow(2).mean()

    critic.zero_grad()
    (actor_loss + critic_loss).backward()
    optim.step()
    history.append(reward.mean().item())
    if (iteration + 1) % 100 == 0:
        print("iteration", iteration + 1, "mean reward", round(sum(history[-100:]) / 100, 3))
print("best possible", table.max(1).values.mean().item())
