import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
VOCAB, LENGTH = 10, 6


class FlashAttention(nn.Module):
    def __init__(self, d, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(d, 3 * d)
        self.out_proj = nn.Linear(d, d)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (z.view(b, t, self.heads, -1).transpose(1, 2) for z in self.qkv(x).chunk(3, dim=-1))
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)
        return self.out_proj(out.transpose(1, 2).reshape(b, t, d))


class Translator(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.emb, self.pos = nn.Embedding(VOCAB, d), nn.Parameter(torch.randn(LENGTH, d) * 0.3)
        self.attn = FlashAttention(d, 2, dropout=0.4)
        self.norm, self.drop = nn.LayerNorm(d), nn.Dropout(0.1)
        self.head = nn.Linear(d, VOCAB)

    def forward(self, x):
        h = self.emb(x) + self.pos
        return self.head(self.norm(h + self.drop(self.attn(h))))


def pairs(n):
    source = torch.randint(0, VOCAB, (n, LENGTH))
    return source, (source + source.flip(1)) % VOCAB


model = Translator()
opt = torch.optim.AdamW(model.parameters(), lr=4e-3)
for step in range(1, 401):
    model.train()
    source, target = pairs(64)
    loss = F.cross_entropy(model(source).flatten(0, 1), target.flatten())
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 80 == 0:
        model.eval()
        with torch.no_grad():
            source, target = pairs(300)
            print(f"step {step} loss {loss.item():.3f} tokens right {(model(source).argmax(-1) == target).float().mean().item():.3f}")
