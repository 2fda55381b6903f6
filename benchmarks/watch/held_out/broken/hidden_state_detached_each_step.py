import torch
import torch.nn as nn

torch.manual_seed(21)


class Adder(nn.Module):
    """Adds up the marked numbers of a sequence."""

    def __init__(self, hidden_size=32):
        super().__init__()
        self.hidden_size = hidden_size
        self.cell = nn.GRUCell(2, hidden_size)
        self.readout = nn.Linear(hidden_size, 1)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], self.hidden_size)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h).detach()
        return self.readout(h)


def adding_problem(n, length=8):
    numbers = torch.rand(n, length)
    marks = torch.zeros(n, length)
    for row in marks:
        row[torch.randperm(length)[:2]] = 1
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(1, keepdim=True)


net = Adder()
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
x_train, y_train = adding_problem(1500)
x_test, y_test = adding_problem(300)
for epoch in range(1, 13):
    for batch in torch.randperm(1500).split(50):
        loss = nn.functional.mse_loss(net(x_train[batch]), y_train[batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    if epoch % 3 == 0:
        with torch.no_grad():
            err = nn.functional.mse_loss(net(x_test), y_test).item()
        print("epoch", epoch, "test mse", round(err, 5), "of", round(y_test.var().item(), 5))
