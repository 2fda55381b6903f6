import os
import tempfile
import torch
import torch.nn as nn

torch.manual_seed(0)
x = torch.randn(1000, 8)
y = torch.stack([x[:, :3].norm(dim=1), x[:, 3:].max(1).values], 1)


def create():
    model = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 6, gamma=0.5)
    return model, optimizer, scheduler


def save(path, epoch, *things):
    torch.save({"epoch": epoch, "states": [t.state_dict() for t in things]}, path)


def resume(path, *things):
    checkpoint = torch.load(path)
    for thing, state in zip(things, checkpoint["states"]):
        thing.load_state_dict(state)
    return checkpoint["epoch"] + 1


def train(first, last, model, optimizer, scheduler, path):
    for epoch in range(first, last):
        for b in torch.randperm(1000).split(50):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x[b]), y[b])
            loss.backward()
            optimizer.step()
        scheduler.step()
        save(path, epoch, model, optimizer, scheduler)
        print("epoch", epoch, "loss", round(loss.item(), 4), "lr", scheduler.get_last_lr())


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "last.pt")
    train(0, 8, *create(), path)
    print("starting again from", os.path.basename(path))
    parts = create()
    train(resume(path, *parts), 16, *parts, path)
