import collections
import random
import torch
import torch.nn as nn

random.seed(0)
torch.manual_seed(0)
SIZE, GOAL = 5, (4, 4)
MOVES = [(0, 1), (1, 0), (0, -1), (-1, 0)]


def encode(state):
    v = torch.zeros(2 * SIZE)
    v[state[0]] = v[SIZE + state[1]] = 1
    return v


def move(state, a):
    nxt = tuple(min(SIZE - 1, max(0, s + d)) for s, d in zip(state, MOVES[a]))
    return nxt, (1.0 if nxt == GOAL else -0.02), nxt == GOAL


policy_net = nn.Sequential(nn.Linear(2 * SIZE, 48), nn.ReLU(), nn.Linear(48, 4))
target_net = nn.Sequential(nn.Linear(2 * SIZE, 48), nn.ReLU(), nn.Linear(48, 4))
target_net.load_state_dict(policy_net.state_dict())
target_net.eval()
optimizer = torch.optim.Adam(policy_net.parameters(), lr=3e-3)
memory = collections.deque(maxlen=2000)
lengths, steps = [], 0

for episode in range(50):
    state, done, t = (0, 0), False, 0
    while not done and t < 40:
        if random.random() < max(0.05, 1 - episode / 25):
            action = random.randrange(4)
        else:
            with torch.no_grad():
                action = policy_net(encode(state)).argmax().item()
        nxt, reward, done = move(state, action)
        memory.append((encode(state), action, reward, encode(nxt), float(done)))
        state, t, steps = nxt, t + 1, steps + 1
        if len(memory) >= 64 and steps % 2 == 0:
            s, a, r, s2, d = zip(*random.sample(memory, 32))
            s, s2, a, r, d = torch.stack(s), torch.stack(s2), torch.tensor(a), torch.tensor(r), torch.tensor(d)
            q = policy_net(s).gather(1, a.unsqueeze(1)).squeeze(1)
            with torch.no_grad():
                expected = r + 0.95 * (1 - d) * target_net(s2).max(1).values
            loss = nn.functional.smooth_l1_loss(q, expected)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if steps % 100 == 0:
            target_net.load_state_dict(policy_net.state_dict())
    lengths.append(t)
    if episode % 10 == 9:
        print("episode", episode + 1, "mean length", sum(lengths[-10:]) / 10)
