import torch
import torch.nn as nn
from torch.nn import functional as F

batch_size, block_size, max_iters, n_embd = 16, 8, 300, 32
torch.manual_seed(1337)

# a little grammar
import random
random.seed(1337)
nouns, verbs, ends = ["cat", "dog", "man", "sun"], ["sees", "likes", "warms"], [".", "!"]
text = " ".join(f"the {random.choice(nouns)} {random.choice(verbs)} the {random.choice(nouns)}{random.choice(ends)}" for _ in range(600))
chars = sorted(set(text))
data = torch.tensor([chars.index(c) for c in text])
n = int(0.9 * len(data))
splits = {'train': data[:n], 'val': data[n:]}


def get_batch(split):
    d = splits[split]
    ix = torch.randint(len(d) - block_size, (batch_size,))
    return torch.stack([d[i:i + block_size] for i in ix]), torch.stack([d[i + 1:i + block_size + 1] for i in ix])


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.tok = nn.Embedding(len(chars), n_embd)
        self.pos = nn.Embedding(block_size, n_embd)
        self.block = nn.TransformerEncoderLayer(n_embd, 2, 64, dropout=0.0, batch_first=True)
        self.lm_head = nn.Linear(n_embd, len(chars))

    def forward(self, idx, targets):
        x = self.tok(idx) + self.pos(torch.arange(idx.shape[1]))
        mask = torch.triu(torch.full((idx.shape[1],) * 2, float('-inf')), 1)
        logits = self.lm_head(self.block(x, src_mask=mask))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


model = LanguageModel()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
inputs, targets = get_batch('train')
for it in range(max_iters):
    loss = model(inputs, targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if it % 60 == 59:
        with torch.no_grad():
            val = sum(model(*get_batch('val')).item() for _ in range(10)) / 10
        print(f"step {it + 1}: train loss {loss.item():.4f}, val loss {val:.4f}")
