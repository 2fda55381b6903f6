import torch
from torch import nn
import imageset

torch.manual_seed(11)
images, labels = map(torch.from_numpy, imageset.load("train", 1500))
test_images, test_labels = map(torch.from_numpy, imageset.load("test", 400))
images, test_images = images.flatten(1), test_images.flatten(1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(49, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.last = nn.Linear(64, 10)

    def forward(self, x):
        return self.last(self.trunk(x))


def phase(name, net, x, y, optimizer, epochs):
    for epoch in range(epochs):
        for idx in torch.randperm(len(x)).split(50):
            loss = nn.functional.cross_entropy(net(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            acc = (net(test_images).argmax(1) == test_labels).float().mean().item()
        print(f"{name} epoch {epoch}: loss {loss.item():.3f} accuracy {acc:.3f}")


net = Net()
noisy = labels.clone()
flip = torch.rand(len(labels)) < 0.4
noisy[flip] = torch.randint(0, 10, (int(flip.sum()),))
phase("noisy labels", net, images, noisy, torch.optim.Adam(net.parameters(), lr=2e-3), 4)

net.last.reset_parameters()
optimizer = torch.optim.Adam([{"params": net.trunk.parameters(), "lr": 3e-4}, {"params": net.last.parameters(), "lr": 3e-3}])
phase("clean labels", net, images[:600], labels[:600], optimizer, 6)
