import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from digits import load_digits

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv = nn.Conv2d(1, 10, kernel_size=3)
        self.fc1 = nn.Linear(360, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv(x), 2))
        x = x.view(-1, 360)
        x = F.relu(self.fc1(x))
        x = F.dropout(x, p=0.6)
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


x_train, y_train, x_test, y_test = load_digits()
network = Net()
optimizer = optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
train_losses, test_accs = [], []

for epoch in range(1, 6):
    network.train()
    for idx in torch.randperm(len(x_train)).split(64):
        optimizer.zero_grad()
        loss = F.nll_loss(network(x_train[idx]), y_train[idx])
        loss.backward()
        optimizer.step()
        train_losses.append(loss.item())
    network.eval()
    with torch.no_grad():
        output = network(x_test)
        test_loss = F.nll_loss(output, y_test).item()
        correct = output.argmax(1).eq(y_test).sum().item()
    test_accs.append(correct / len(y_test))
    print(f"epoch {epoch}: test loss {test_loss:.4f}, accuracy {correct}/{len(y_test)}")
print("best", max(test_accs))
