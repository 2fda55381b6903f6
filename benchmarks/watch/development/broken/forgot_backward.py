import torch
from torch import nn, optim
from digits import load_digits

torch.manual_seed(0)
x_train, y_train, x_test, y_test = load_digits()


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 12))
        self.decoder = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 196), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x))


model = Autoencoder()
criterion = nn.BCELoss()
optimizer = optim.Adam(model.parameters(), lr=2e-3)
batch = 100
n_batches = len(x_train) // batch

for epoch in range(6):
    epoch_loss = 0.0
    for i in range(n_batches):
        target = x_train[i * batch:(i + 1) * batch].flatten(1)
        output = model(x_train[i * batch:(i + 1) * batch])
        loss = criterion(output, target)
        optimizer.zero_grad()
        optimizer.step()
        epoch_loss += loss.item()
    print("epoch : {}/{}, reconstruction loss = {:.6f}".format(epoch + 1, 6, epoch_loss / n_batches))

with torch.no_grad():
    print("test", criterion(model(x_test), x_test.flatten(1)).item())
