import torch as th
import torch.nn as nn

th.manual_seed(0)

# logistic map: predict the next value from the last three
s = [0.3]
for _ in range(900): s.append(3.8*s[-1]*(1-s[-1]))
s = th.tensor(s)
X = th.stack([s[:-3], s[1:-2], s[2:-1]], 1); Y = s[3:].unsqueeze(1)
Xtr, Ytr, Xte, Yte = X[:700], Y[:700], X[700:], Y[700:]

net = nn.Sequential(nn.Linear(3, 30), nn.Sigmoid(), nn.Linear(30, 1))
opt = th.optim.Adam(net.parameters(), lr=5e-2)
L = nn.MSELoss()

def train(epochs, bs):
    for ep in range(epochs):
        opt.zero_grad()
        tot = 0
        p = th.randperm(len(Xtr))
        for k in range(0, len(Xtr), bs):
            l = L(net(Xtr[p[k:k+bs]]), Ytr[p[k:k+bs]])
            l.backward()
            opt.step()
            tot += l.item()
        if ep % 5 == 4:
            with th.no_grad():
                print('ep', ep+1, 'train', tot/(len(Xtr)//bs), 'test', L(net(Xte), Yte).item())

train(40, 35)
