import copy
import torch
import torch.nn as nn
import torch.nn.functional as F
from digits import load_digits

torch.manual_seed(0)
x_train, y_train, x_test, y_test = load_digits(flat=True)
labelled, unlabelled = slice(0, 200), slice(200, 1500)

student = nn.Sequential(nn.Linear(196, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
teacher = copy.deepcopy(student)
for p in teacher.parameters():
    p.detach_()
opt = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)


def update_teacher(alpha):
    for t, s in zip(teacher.parameters(), student.parameters()):
        t.data.mul_(alpha).add_(s.data, alpha=1 - alpha)


def noisy(x):
    return x + 0.1 * torch.randn_like(x)


xl, yl = x_train[labelled], y_train[labelled]
xu = x_train[unlabelled]
for step in range(300):
    i = torch.randint(0, len(xl), (32,))
    j = torch.randint(0, len(xu), (64,))
    supervised = F.cross_entropy(student(noisy(xl[i])), yl[i])
    with torch.no_grad():
        target = teacher(noisy(xu[j])).softmax(1)
    consistency = F.mse_loss(student(noisy(xu[j])).softmax(1), target)
    loss = supervised + min(1, step / 100) * 5 * consistency
    opt.zero_grad()
    loss.backward()
    opt.step()
    update_teacher(min(1 - 1 / (step + 1), 0.98))
    if step % 60 == 59:
        teacher.eval()
        with torch.no_grad():
            acc = (teacher(x_test).argmax(1) == y_test).float().mean().item()
        teacher.train()
        print(f"{step + 1}: sup {supervised.item():.3f} cons {consistency.item():.4f} teacher acc {acc:.3f}")
