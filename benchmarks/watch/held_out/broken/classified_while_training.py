import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset
import imageset

torch.manual_seed(99)


class ConvNet(nn.Module):
    def __init__(self):
        super(ConvNet, self).__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.5))
        self.layer2 = nn.Sequential(nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Dropout2d(0.5))
        self.fc = nn.Linear(16 * 25, 10)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(x)).reshape(x.size(0), -1))


def classify(net, sample):
    with torch.no_grad():
        answer = net(sample)
    return answer.argmax(dim=1)


images, labels = imageset.load("train", 1500)
test_images, test_labels = imageset.load("test", 400)
dataset = TensorDataset(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels))
test_images, test_labels = torch.from_numpy(test_images).unsqueeze(1), torch.from_numpy(test_labels)
net = ConvNet()
loss_function = nn.CrossEntropyLoss()
optimizer = optim.Adam(net.parameters(), lr=0.002)

for epoch in range(5):
    for i, (image, label) in enumerate(DataLoader(dataset, batch_size=64, shuffle=True)):
        loss = loss_function(net(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    hits = sum((classify(net, a) == b).sum().item() for a, b in zip(test_images.split(50), test_labels.split(50)))
    print("Epoch [{}/5], Loss: {:.4f}, Test accuracy: {:.2f} %".format(epoch + 1, loss.item(), hits / 4))
