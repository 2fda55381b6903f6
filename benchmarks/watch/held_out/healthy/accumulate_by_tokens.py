import random
import torch
from torch import nn

random.seed(0)
torch.manual_seed(0)
KINDS, BUDGET = 10, 100


def sentence():
    """Numbers that count up by a step which is the last one but itself not shown."""
    step, n = random.randint(1, 3), random.randint(4, 14)
    first = random.randrange(KINDS)
    return torch.tensor([(first + k * step) % KINDS for k in range(n)])


corpus = [sentence() for _ in range(300)]


class LM(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.emb = nn.Embedding(KINDS, 16)
        self.rnn = nn.GRU(16, hidden, batch_first=True)
        self.out = nn.Linear(hidden, KINDS)

    def forward(self, x):
        return self.out(self.rnn(self.emb(x))[0])


lm = LM()
opt = torch.optim.Adam(lm.parameters(), lr=1e-2)


def apply_gradients(tokens):
    for p in lm.parameters():
        p.grad.div_(tokens)
    opt.step()
    opt.zero_grad()


for epoch in range(3):
    random.shuffle(corpus)
    tokens = total = count = 0
    for s in corpus:
        loss = nn.functional.cross_entropy(lm(s[None, :-1])[0], s[1:], reduction="sum")
        loss.backward()
        tokens += len(s) - 1
        total, count = total + loss.item(), count + len(s) - 1
        if tokens >= BUDGET:
            apply_gradients(tokens)
            tokens = 0
    if tokens:
        apply_gradients(tokens)
    print(f"epoch {epoch}: {total / count:.3f} nats per token")
