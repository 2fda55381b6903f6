import math
import torch
import torch.nn as nn

torch.manual_seed(0)
VOCAB, LENGTH = 12, 8


def lookup_task(n):
    """The token that stands after the marker 0 is the answer."""
    seq = torch.randint(1, VOCAB, (n, LENGTH))
    pos = torch.randint(0, LENGTH - 1, (n,))
    seq[torch.arange(n), pos] = 0
    return seq, seq[torch.arange(n), pos + 1]


class TinyAttention(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.tok = nn.Embedding(VOCAB, d)
        self.prev = nn.Embedding(VOCAB, d)
        self.q = nn.Parameter(torch.randn(d) / math.sqrt(d))
        self.k, self.v = nn.Linear(d, d), nn.Linear(d, d)
        self.out = nn.Linear(d, VOCAB)

    def forward(self, x):
        before = torch.roll(x, 1, 1)
        before[:, 0] = 1
        e = self.tok(x) + self.prev(before)
        scores = self.k(e) @ self.q / math.sqrt(e.shape[-1])
        att = torch.softmax(scores, dim=0)
        return self.out((att.unsqueeze(-1) * self.v(e)).sum(1))


model = TinyAttention()
opt = torch.optim.Adam(model.parameters(), lr=5e-3)
lossfn = nn.CrossEntropyLoss()
for step in range(1, 401):
    x, y = lookup_task(64)
    opt.zero_grad()
    loss = lossfn(model(x), y)
    loss.backward()
    opt.step()
    if step % 80 == 0:
        with torch.no_grad():
            xv, yv = lookup_task(200)
            right = sum(model(a.unsqueeze(0)).argmax(1).item() == b.item() for a, b in zip(xv, yv))
        print(f"{step} loss {loss.item():.3f} right, one at a time: {right} of 200")
