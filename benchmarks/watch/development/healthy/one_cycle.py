import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from digits import load_digits

torch.manual_seed(0)
EPOCHS, BATCH, MAX_LR = 8, 50, 0.01
x_train, y_train, x_test, y_test = load_digits(flat=True)
train_dl = DataLoader(TensorDataset(x_train, y_train), BATCH, shuffle=True)
valid_dl = DataLoader(TensorDataset(x_test, y_test), 200)


def get_lr(optimizer):
    for group in optimizer.param_groups:
        return group['lr']


@torch.no_grad()
def evaluate(model):
    model.eval()
    out = [(model(x).argmax(1) == y).float().mean() for x, y in valid_dl]
    return torch.stack(out).mean().item()


def fit_one_cycle(model):
    optimizer = torch.optim.AdamW(model.parameters(), MAX_LR, weight_decay=1e-4)
    sched = torch.optim.lr_scheduler.OneCycleLR(optimizer, MAX_LR, epochs=EPOCHS, steps_per_epoch=len(train_dl))
    for epoch in range(EPOCHS):
        model.train()
        losses, lrs = [], []
        for x, y in train_dl:
            loss = nn.functional.cross_entropy(model(x), y)
            losses.append(loss.detach())
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
            lrs.append(get_lr(optimizer))
            sched.step()
        print("Epoch [{}], last_lr: {:.5f}, train_loss: {:.4f}, val_acc: {:.4f}".format(
            epoch, lrs[-1], torch.stack(losses).mean().item(), evaluate(model)))


fit_one_cycle(nn.Sequential(nn.Linear(196, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)))
