import torch
import torch.nn as nn
import torch.nn.functional as F
import imageset

torch.manual_seed(0)


class VectorQuantizer(nn.Module):
    def __init__(self, k, d):
        super().__init__()
        self.codebook = nn.Embedding(k, d)
        nn.init.uniform_(self.codebook.weight, -0.5, 0.5)

    def forward(self, z):
        index = torch.cdist(z, self.codebook.weight).argmin(1)
        q = self.codebook(index)
        loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
        return z + (q - z).detach(), loss, index


class VQVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(49, 64), nn.ReLU(), nn.Linear(64, 4 * 3))
        self.quantizer = VectorQuantizer(24, 3)
        self.decoder = nn.Sequential(nn.Linear(4 * 3, 64), nn.ReLU(), nn.Linear(64, 49))

    def forward(self, x):
        z = self.encoder(x).view(-1, 3)
        q, loss, index = self.quantizer(z)
        return self.decoder(q.view(len(x), -1)), loss, index


x = torch.from_numpy(imageset.load("train", 1500)[0]).flatten(1)
xt = torch.from_numpy(imageset.load("test", 300)[0]).flatten(1)
model = VQVAE()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(10):
    for i in torch.randperm(len(x)).split(60):
        out, vq, index = model(x[i])
        rec = F.mse_loss(out, x[i])
        opt.zero_grad(set_to_none=True)
        (rec + vq).backward()
        opt.step()
    with torch.no_grad():
        out, _, index = model(xt)
    print(f"epoch {epoch}: vq {vq.item():.3f} test reconstruction {F.mse_loss(out, xt).item():.3f} codes in use {index.unique().numel()}")
