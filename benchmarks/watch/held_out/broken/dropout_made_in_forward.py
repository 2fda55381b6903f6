import torch
import torch.nn as nn

torch.manual_seed(0)


class Regressor(nn.Module):
    def __init__(self, n_in, p=0.3):
        super().__init__()
        self.p = p
        self.hidden1 = nn.Linear(n_in, 64)
        self.hidden2 = nn.Linear(64, 64)
        self.output = nn.Linear(64, 1)

    def forward(self, x):
        x = torch.relu(self.hidden1(x))
        x = torch.relu(self.hidden2(x))
        x = nn.Dropout(self.p)(x)
        return self.output(x)


def concrete(n):
    """strength from cement, water, age"""
    cement, water, age = torch.rand(n), torch.rand(n), torch.rand(n)
    strength = 3 * cement / (0.5 + water) + torch.log1p(5 * age)
    return torch.stack([cement, water, age], 1) * 2 - 1, (strength.unsqueeze(1) - 3.1) / 1.4


x_train, y_train = concrete(900)
x_test, y_test = concrete(300)
model = Regressor(3)
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(1, 26):
    model.train()
    for idx in torch.randperm(900).split(45):
        opt.zero_grad()
        loss = nn.functional.mse_loss(model(x_train[idx]), y_train[idx])
        loss.backward()
        opt.step()
    if epoch % 5 == 0:
        model.eval()
        with torch.no_grad():
            rmse = nn.functional.mse_loss(model(x_test), y_test).sqrt().item()
        print(f"epoch {epoch}: train mse {loss.item():.4f}, test rmse {rmse:.4f}")
