import torch
from torch import nn

torch.manual_seed(3)


def mixture(n):
    k = torch.randint(0, 3, (n,))
    centre = torch.tensor([[2.0, 0, 0, 1], [0, 2.0, 0, -1], [0, 0, 2.0, 0]])
    return centre[k] + 0.7 * torch.randn(n, 4), k


encoder = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 6))
decoder = nn.Sequential(nn.ReLU(), nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 4))
classifier = nn.Linear(6, 3)
optimizer = torch.optim.Adam([
    {"params": encoder.parameters(), "lr": 3e-3},
    {"params": decoder.parameters(), "lr": 3e-3},
    {"params": classifier.parameters(), "lr": 1e-2},
])
mse, ce = nn.MSELoss(), nn.CrossEntropyLoss()

for step in range(1, 401):
    x, k = mixture(64)
    code = encoder(x)
    optimizer.zero_grad()
    reconstruction_loss = mse(decoder(code), x)
    reconstruction_loss.backward(retain_graph=True)
    class_loss = 0.3 * ce(classifier(code), k)
    class_loss.backward()
    optimizer.step()
    if step % 80 == 0:
        with torch.no_grad():
            x, k = mixture(500)
            acc = (classifier(encoder(x)).argmax(1) == k).float().mean().item()
        print("step %d rec %.4f class %.4f acc %.3f" % (step, reconstruction_loss.item(), class_loss.item(), acc))
