import torch
import torch.nn as nn


class MLP(nn.Module):
    """A multilayer perceptron of any depth."""

    def __init__(self, sizes, n_out):
        super().__init__()
        self.layers = []
        for i in range(len(sizes) - 1):
            self.layers.append(nn.Linear(sizes[i], sizes[i + 1]))
        self.out = nn.Linear(sizes[-1], n_out)

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.out(x)


def make_data(n, generator):
    x = torch.rand(n, 2, generator=generator) * 4 - 2
    y = torch.sin(2 * x[:, :1]) * torch.cos(2 * x[:, 1:])
    return x, y


if __name__ == "__main__":
    torch.manual_seed(5)
    g = torch.Generator().manual_seed(5)
    x, y = make_data(1000, g)
    x_val, y_val = make_data(300, g)
    model = MLP([2, 8, 8], 1)
    criterion = nn.MSELoss()
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(20):
        order = torch.randperm(len(x), generator=g)
        for i in range(0, len(x), 50):
            b = order[i:i + 50]
            opt.zero_grad()
            loss = criterion(model(x[b]), y[b])
            loss.backward()
            opt.step()
        if epoch % 4 == 3:
            with torch.no_grad():
                print(f"epoch {epoch + 1}: val mse {criterion(model(x_val), y_val).item():.4f} (variance {y_val.var().item():.4f})")
