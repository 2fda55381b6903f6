import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, DataLoader
from digits import load_digits

x_train, y_train, x_test, y_test = load_digits(flat=True)


class FolderDataset(Dataset):
    """Reads the samples of one class after the other, as from folders 0/, 1/, ..."""

    def __init__(self, x, y):
        self.samples = []
        for label in range(10):
            for image in x[y == label]:
                self.samples.append((image, label))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, idx):
        image, label = self.samples[idx]
        return image, label


torch.manual_seed(0)
np.random.seed(0)
train_ds = FolderDataset(x_train, y_train)
train_loader = DataLoader(train_ds, batch_size=25)
test_loader = DataLoader(FolderDataset(x_test, y_test), batch_size=100)
model = nn.Sequential(nn.Linear(196, 50), nn.ReLU(), nn.Linear(50, 10))
opt = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = nn.CrossEntropyLoss()

for epoch in range(5):
    model.train()
    for images, labels in train_loader:
        opt.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        opt.step()
    model.eval()
    with torch.no_grad():
        acc = np.mean([(model(a).argmax(1) == b).float().mean().item() for a, b in test_loader])
    print("epoch", epoch, "last loss", loss.item(), "test accuracy", acc)
