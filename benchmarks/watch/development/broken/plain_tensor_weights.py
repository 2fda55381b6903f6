# matrix factorization with biases
import torch
from torch import nn

torch.manual_seed(2)
n_users, n_items, dim = 40, 30, 4


class MatrixFactorization(nn.Module):
    def __init__(self, n_users, n_items, dim):
        super().__init__()
        self.v = torch.randn(n_users, dim, requires_grad=True)
        self.w = torch.randn(n_items, dim, requires_grad=True)
        self.user_bias = nn.Embedding(n_users, 1)
        self.item_bias = nn.Embedding(n_items, 1)

    def forward(self, u, i):
        dot = (self.v[u] * self.w[i]).sum(1)
        return dot + self.user_bias(u).squeeze(1) + self.item_bias(i).squeeze(1)


# ratings
true_u, true_i = torch.randn(n_users, dim), torch.randn(n_items, dim)
users = torch.randint(0, n_users, (3000,))
items = torch.randint(0, n_items, (3000,))
ratings = (true_u[users] * true_i[items]).sum(1) + 0.1 * torch.randn(3000)

model = MatrixFactorization(n_users, n_items, dim)
opt = torch.optim.Adam(model.parameters(), lr=0.02)
for epoch in range(12):
    order = torch.randperm(3000)
    total = 0.0
    for b in order.split(100):
        opt.zero_grad()
        err = model(users[b], items[b]) - ratings[b]
        loss = err.pow(2).mean()
        loss.backward()
        opt.step()
        total += loss.item() * len(b)
    print("epoch %d rmse %.4f" % (epoch, (total / 3000) ** 0.5))
