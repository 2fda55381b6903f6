import torch
from digits import load_digits

torch.manual_seed(0)
x_train, y_train, x_test, y_test = load_digits(flat=True)

W1 = (torch.randn(196, 40) / 196 ** 0.5).requires_grad_()
b1 = torch.zeros(40, requires_grad=True)
W2 = (torch.randn(40, 10) / 40 ** 0.5).requires_grad_()
b2 = torch.zeros(10, requires_grad=True)
params = (W1, b1, W2, b2)


def log_softmax(x):
    return x - x.exp().sum(-1).log().unsqueeze(-1)


def model(xb):
    return log_softmax((xb @ W1 + b1).clamp_min(0.0) @ W2 + b2)


def nll(pred, target):
    return -pred[range(target.shape[0]), target].mean()


lr, bs = 0.3, 50
for epoch in range(6):
    perm = torch.randperm(len(x_train))
    for i in range(0, len(x_train), bs):
        xb, yb = x_train[perm[i:i + bs]], y_train[perm[i:i + bs]]
        loss = nll(model(xb), yb)
        loss.backward()
        with torch.no_grad():
            for p in params:
                p -= lr * p.grad
                p.grad.zero_()
    with torch.no_grad():
        print(epoch, loss.item(), (model(x_test).argmax(1) == y_test).float().mean().item())
