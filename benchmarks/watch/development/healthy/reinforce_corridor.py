import random
import torch
import torch.nn as nn
from torch.distributions import Categorical

random.seed(0)
torch.manual_seed(0)
LENGTH, GOAL = 7, 6


class Corridor:
    def reset(self):
        self.pos, self.t = 2, 0
        return self.obs()

    def obs(self):
        return torch.nn.functional.one_hot(torch.tensor(self.pos), LENGTH).float()

    def step(self, action):
        self.pos = max(0, min(LENGTH - 1, self.pos + (1 if action else -1)))
        self.t += 1
        done = self.pos == GOAL or self.t == 15
        return self.obs(), (10.0 if self.pos == GOAL else -0.2), done


policy = nn.Sequential(nn.Linear(LENGTH, 16), nn.Tanh(), nn.Linear(16, 2))
optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
env, gamma, average = Corridor(), 0.97, []

for episode in range(120):
    obs, done = env.reset(), False
    log_probs, rewards = [], []
    while not done:
        dist = Categorical(logits=policy(obs))
        action = dist.sample()
        log_probs.append(dist.log_prob(action))
        obs, r, done = env.step(action.item())
        rewards.append(r)
    returns, g = [], 0.0
    for r in reversed(rewards):
        g = r + gamma * g
        returns.insert(0, g)
    returns = torch.tensor(returns)
    loss = -(torch.stack(log_probs) * returns).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    average.append(sum(rewards))
    if episode % 20 == 19:
        print(f"episode {episode + 1} reward {sum(average[-20:]) / 20:.2f} loss {loss.item():.2f}")
