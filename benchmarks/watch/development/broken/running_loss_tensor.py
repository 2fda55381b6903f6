import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset
from digits import load_digits

torch.manual_seed(0)
xs, ys, xt, yt = load_digits()
train_loader = DataLoader(TensorDataset(xs, ys), batch_size=30, shuffle=True)


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                                      nn.Conv2d(6, 12, 3), nn.ReLU())
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(300, 40), nn.ReLU(), nn.Linear(40, 10))

    def forward(self, x):
        return self.classifier(self.features(x))


net = LeNet()
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(net.parameters(), lr=1e-3)
history = []

running_loss = 0
for epoch in range(4):
    for i, (inputs, labels) in enumerate(train_loader, 0):
        optimizer.zero_grad()
        outputs = net(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running_loss += loss
    history.append(running_loss / len(train_loader))
    print('[%d] loss so far: %.3f' % (epoch + 1, history[-1]))

with torch.no_grad():
    correct = (net(xt).argmax(1) == yt).sum().item()
print('Finished Training, accuracy', correct / len(yt))
