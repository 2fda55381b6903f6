import math
import random
import torch
import torch.nn as nn
from torch.nn import functional as F

random.seed(0)
torch.manual_seed(0)
rule = {i: [(3 * i + 1) % 16, (5 * i + 2) % 16] for i in range(16)}
stream = [0]
while len(stream) < 4000:
    stream.append(random.choices(rule[stream[-1]], weights=[4, 1])[0])
stream = torch.tensor(stream)
T, WARMUP, STEPS = 12, 30, 300


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        q, k, v = self.qkv(self.ln1(x)).chunk(3, -1)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, vocab=16, d=32):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, d), nn.Embedding(T, d)
        self.block, self.ln = Block(d), nn.LayerNorm(d)
        self.lm_head = nn.Linear(d, vocab, bias=False)
        nn.init.normal_(self.wte.weight, std=0.1)
        self.lm_head.weight = self.wte.weight

    def forward(self, idx):
        return self.lm_head(self.ln(self.block(self.wte(idx) + self.wpe.weight)))


model = GPT()
decay = [p for p in model.parameters() if p.dim() >= 2]
no_decay = [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": no_decay, "weight_decay": 0.0}], lr=6e-3, betas=(0.9, 0.95))
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda s: (s + 1) / WARMUP if s < WARMUP else 0.1 + 0.45 * (1 + math.cos(math.pi * (s - WARMUP) / (STEPS - WARMUP))))
for step in range(STEPS):
    at = torch.randint(0, 3500, (24,))
    x = torch.stack([stream[i:i + T] for i in at])
    y = torch.stack([stream[i + 1:i + T + 1] for i in at])
    loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    if step % 60 == 59:
        print(f"step {step + 1} loss {loss.item():.3f} lr {schedule.get_last_lr()[0]:.5f}")
