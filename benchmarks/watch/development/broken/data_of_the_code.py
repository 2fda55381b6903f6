import torch
import torch.nn as nn
import torch.nn.functional as F
from digits import load_digits

torch.manual_seed(0)


class AE(nn.Module):
    def __init__(self, n_code=6):
        super(AE, self).__init__()
        self.encoder = nn.Sequential(nn.Linear(196, 48), nn.Tanh(), nn.Linear(48, n_code))
        self.decoder = nn.Sequential(nn.Linear(n_code, 48), nn.Tanh(), nn.Linear(48, 196))

    def forward(self, x):
        z = self.encoder(x).data
        return torch.sigmoid(self.decoder(z)), z


x_train, _, x_test, _ = load_digits(flat=True)
ae = AE()
optimizer = torch.optim.Adam(ae.parameters(), lr=3e-3)
losses = []
for epoch in range(14):
    for x in x_train[torch.randperm(len(x_train))].split(50):
        recon, z = ae(x)
        loss = F.mse_loss(recon, x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print("epoch", epoch, "mean loss", sum(losses[-30:]) / 30)

with torch.no_grad():
    recon, z = ae(x_test)
    print("test mse", F.mse_loss(recon, x_test).item(), "code std", z.std(0).tolist())
