import math
import torch
import torch.nn.functional as F

torch.manual_seed(0)


def init(*shape):
    return (torch.randn(*shape) * math.sqrt(2.0 / shape[0])).requires_grad_()


params = [init(1, 24), torch.zeros(24, requires_grad=True),
          init(24, 24), torch.zeros(24, requires_grad=True),
          init(24, 1), torch.zeros(1, requires_grad=True)]


def net(x, p):
    x = F.relu(x @ p[0] + p[1])
    x = F.relu(x @ p[2] + p[3])
    return x @ p[4] + p[5]


def task():
    amplitude, phase = 0.5 + 2 * torch.rand(1), math.pi * torch.rand(1)
    def sample(n):
        x = torch.rand(n, 1) * 6 - 3
        return x, amplitude * torch.sin(x + phase)
    return sample


def adapt(sample, lr=0.02, steps=1):
    fast = params
    for _ in range(steps):
        x, y = sample(10)
        grads = torch.autograd.grad(F.mse_loss(net(x, fast), y), fast, create_graph=True)
        fast = [p - lr * g for p, g in zip(fast, grads)]
    return fast


meta_opt = torch.optim.Adam(params, lr=3e-3)
log = []
for it in range(250):
    meta_opt.zero_grad()
    meta_loss = 0
    for _ in range(4):
        sample = task()
        fast = adapt(sample)
        x, y = sample(10)
        meta_loss = meta_loss + F.mse_loss(net(x, fast), y)
    (meta_loss / 4).backward()
    meta_opt.step()
    log.append(meta_loss.item() / 4)
    if it % 50 == 49:
        print(f"iteration {it + 1}: loss after adaptation {sum(log[-50:]) / 50:.3f}")
