import random
import torch
import torch.nn as nn
import torch.nn.functional as F

random.seed(0)
torch.manual_seed(0)
# three groups of words that occur together
groups = [list(range(0, 20)), list(range(20, 40)), list(range(40, 60))]
pairs = []
for _ in range(3000):
    g = random.choice(groups)
    pairs.append(random.sample(g, 2))
pairs = torch.tensor(pairs)


class SkipGram(nn.Module):
    def __init__(self, vocab, dim):
        super().__init__()
        self.center = nn.Embedding(vocab, dim, sparse=True)
        self.context = nn.Embedding(vocab, dim, sparse=True)
        nn.init.uniform_(self.center.weight, -0.5 / dim, 0.5 / dim)
        nn.init.zeros_(self.context.weight)

    def forward(self, c, o, neg):
        v = self.center(c)
        positive = F.logsigmoid((v * self.context(o)).sum(1))
        negative = F.logsigmoid(-(self.context(neg) @ v.unsqueeze(2)).squeeze(2)).sum(1)
        return -(positive + negative).mean()


model = SkipGram(60, 8)
opt = torch.optim.SparseAdam(model.parameters(), lr=0.02)
for epoch in range(6):
    total = 0.0
    for idx in torch.randperm(len(pairs)).split(60):
        opt.zero_grad()
        loss = model(pairs[idx, 0], pairs[idx, 1], torch.randint(0, 60, (len(idx), 5)))
        loss.backward()
        opt.step()
        total += loss.item()
    print("epoch", epoch, "loss", round(total / 50, 4))

v = F.normalize(model.center.weight.detach(), dim=1)
sim = v @ v.t()
print("within", sim[:20, :20].mean().item(), "between", sim[:20, 20:].mean().item())
