import torch
import torch.nn as nn
import torch.nn.functional as F
import imageset

torch.manual_seed(0)
EPS = 0.2
x, y = (torch.from_numpy(v) for v in imageset.load("train", 1500))
xt, yt = (torch.from_numpy(v) for v in imageset.load("test", 400))
model = nn.Sequential(nn.Flatten(), nn.Linear(49, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)


def attack(model, x, y):
    was_training = model.training
    model.eval()
    x_adv = x.clone().requires_grad_(True)
    F.cross_entropy(model(x_adv), y).backward()
    model.train(was_training)
    return (x_adv + EPS * x_adv.grad.sign()).detach()


for epoch in range(6):
    model.train()
    for idx in torch.randperm(len(x)).split(60):
        x_adv = attack(model, x[idx], y[idx])
        optimizer.zero_grad()
        loss = 0.5 * F.cross_entropy(model(x[idx]), y[idx]) + 0.5 * F.cross_entropy(model(x_adv), y[idx])
        loss.backward()
        optimizer.step()
    model.eval()
    adversarial = attack(model, xt, yt)
    with torch.no_grad():
        clean = (model(xt).argmax(1) == yt).float().mean().item()
        robust = (model(adversarial).argmax(1) == yt).float().mean().item()
    print(f"epoch {epoch}: loss {loss.item():.3f} clean {clean:.3f} under attack {robust:.3f}")
