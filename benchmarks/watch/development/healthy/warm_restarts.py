import torch
import torch.nn as nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

torch.manual_seed(0)

# parity of marked bits in a sequence
def batch(n, length=8):
    bits = torch.randint(0, 2, (n, length))
    return bits, (bits[:, 0] + bits[:, 1] + bits[:, -1]) % 2


class Encoder(nn.Module):
    def __init__(self, d=24):
        super().__init__()
        self.emb = nn.Embedding(2, d)
        self.pos = nn.Parameter(0.5 * torch.randn(8, d))
        self.block = nn.TransformerEncoderLayer(d, 2, 48, dropout=0.0, batch_first=True)
        self.out = nn.Linear(8 * d, 2)

    def forward(self, x):
        return self.out(self.block(self.emb(x) + self.pos).flatten(1))


model = Encoder()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=2, T_mult=1)
iters = 40
for epoch in range(6):
    for i in range(iters):
        x, y = batch(64)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        scheduler.step(epoch + i / iters)
    with torch.no_grad():
        x, y = batch(500)
        acc = (model(x).argmax(1) == y).float().mean().item()
    print("epoch %d lr %.5f loss %.4f acc %.3f" % (epoch, optimizer.param_groups[0]["lr"], loss.item(), acc))
