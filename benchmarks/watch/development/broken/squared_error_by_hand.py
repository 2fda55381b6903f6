import torch

torch.manual_seed(3)

# data
x = torch.rand(500, 3) * 2 - 1
y = 2.0 * x[:, 0] - 3.0 * x[:, 1] + x[:, 2] ** 2 + 0.05 * torch.randn(500)

# one hidden layer, parameters by hand
w1 = (0.5 * torch.randn(3, 20)).requires_grad_()
b1 = torch.zeros(20, requires_grad=True)
w2 = (0.3 * torch.randn(20, 1)).requires_grad_()
b2 = torch.zeros(1, requires_grad=True)
params = [w1, b1, w2, b2]
opt = torch.optim.Adam(params, lr=0.01)


def model(x):
    return torch.tanh(x @ w1 + b1) @ w2 + b2


for step in range(400):
    i = torch.randint(0, 500, (50,))
    xb, yb = x[i], y[i]
    y_hat = model(xb)
    loss = ((y_hat - yb) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 80 == 0:
        print(step, loss.item())

with torch.no_grad():
    final = (model(x)[:, 0] - y).pow(2).mean()
print("mse on the data", final.item(), "variance of y", y.var().item())
