# fitted Q-iteration on a ring of states, by hand-written TD error
import torch
import torch.nn as nn

torch.manual_seed(0)
S, gamma = 10, 0.9


def transitions(n):
    s = torch.randint(0, S, (n,))
    a = torch.randint(0, 2, (n,))
    s2 = (s + 2 * a - 1) % S
    reward = (s2 == 0).float()
    return s, a, reward, s2, reward.clone()


def onehot(s):
    return nn.functional.one_hot(s, S).float()


q_net, target_net = nn.Linear(S, 2), nn.Linear(S, 2)
target_net.load_state_dict(q_net.state_dict())
opt = torch.optim.Adam(q_net.parameters(), lr=0.02)
truth = torch.tensor([gamma ** (min((S - s - 1) % S, 99)) if a else gamma ** ((s - 1) % S) for s in range(S) for a in (0, 1)]).view(S, 2)

for step in range(1, 601):
    s, a, reward, s2, done = transitions(64)
    with torch.no_grad():
        best_next = target_net(onehot(s2)).max(1, keepdim=True).values
        target = reward + gamma * best_next * (1 - done)
    q = q_net(onehot(s)).gather(1, a[:, None])
    td_error = target - q
    loss = td_error.pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 20 == 0:
        target_net.load_state_dict(q_net.state_dict())
    if step % 150 == 0:
        with torch.no_grad():
            q_all = q_net(torch.eye(S))
        good = (q_all.argmax(1)[1:5] == 0).float().mean().item(), (q_all.argmax(1)[6:] == 1).float().mean().item()
        print(step, "loss %.4f" % loss.item(), "way home found (left, right): %.2f %.2f" % good)
