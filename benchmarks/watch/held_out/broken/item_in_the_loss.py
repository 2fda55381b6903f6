import torch
from torch import nn

torch.manual_seed(0)


class TwoTowers(nn.Module):
    """Queries and documents in one space."""

    def __init__(self, vocab=40, dim=16):
        super().__init__()
        self.query = nn.EmbeddingBag(vocab, dim, mode="mean")
        self.document = nn.EmbeddingBag(vocab, dim, mode="mean")

    def forward(self, q, d):
        return self.query(q) @ self.document(d).T


def cross_entropy(row, j):
    return torch.logsumexp(row, 0) - row[j]


def sample(n):
    topic = torch.randperm(20)[:n]
    q = torch.stack([topic, torch.randint(20, 40, (n,))], 1)
    d = torch.stack([topic, (topic + 1) % 20, torch.randint(20, 40, (n,))], 1)
    return q, d


towers = TwoTowers()
opt = torch.optim.Adam(towers.parameters(), lr=0.03)
for step in range(1, 251):
    q, d = sample(12)
    scores = towers(q, d)
    nce = torch.tensor([cross_entropy(row, j).item() for j, row in enumerate(scores)], requires_grad=True)
    loss = nce.mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 50 == 0:
        hits = sum((towers(*sample(12)).argmax(1) == torch.arange(12)).float().mean().item() for _ in range(20)) / 20
        print(f"step {step}: loss {loss.item():.3f}, recall@1 {hits:.3f}")
