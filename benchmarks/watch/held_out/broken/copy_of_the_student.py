"""Knowledge distillation: a wide teacher, a narrow student."""
import copy
import torch
import torch.nn as nn
import torch.nn.functional as F
from imageset import load

torch.manual_seed(0)
(xa, ya), (xb, yb) = load("train", 1500), load("test", 400)
xa, ya, xb, yb = (torch.from_numpy(a) for a in (xa, ya, xb, yb))
xa, xb = xa.flatten(1), xb.flatten(1)


def mlp(width):
    return nn.Sequential(nn.Linear(49, width), nn.ReLU(), nn.Linear(width, 10))


def accuracy(net):
    with torch.no_grad():
        return (net(xb).argmax(1) == yb).float().mean().item()


teacher = mlp(128)
teacher_opt = torch.optim.Adam(teacher.parameters(), lr=4e-3)
for _ in range(5):
    for i in torch.randperm(len(xa)).split(50):
        teacher_opt.zero_grad()
        F.cross_entropy(teacher(xa[i]), ya[i]).backward()
        teacher_opt.step()
print("teacher", accuracy(teacher))

template = mlp(16)
optimizer = torch.optim.Adam(template.parameters(), lr=4e-3)
student = copy.deepcopy(template)
T = 3.0
for epoch in range(5):
    for i in torch.randperm(len(xa)).split(50):
        with torch.no_grad():
            soft = F.softmax(teacher(xa[i]) / T, dim=1)
        loss = F.kl_div(F.log_softmax(student(xa[i]) / T, dim=1), soft, reduction="batchmean") * T * T
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("student", epoch, round(loss.item(), 4), accuracy(student))
