import math
import torch
import torch.nn as nn

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)

x = torch.linspace(0, 1, 100).unsqueeze(1)
y = torch.sin(2 * math.pi * x) + 0.5 * torch.sin(6 * math.pi * x)

model = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=10, history_size=20)
calls = 0

for i in range(25):
    def closure():
        global calls
        calls += 1
        optimizer.zero_grad()
        out = model(x)
        loss = criterion(out, y)
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    if i % 5 == 0:
        print('STEP:', i, 'loss:', loss.item(), 'evaluations:', calls)

with torch.no_grad():
    print('final loss:', criterion(model(x), y).item())
