import time
import torch
import torch.nn as nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset
from digits import load_digits


def train_model(model, loaders, criterion, optimizer, scheduler, num_epochs=10):
    since = time.time()
    for epoch in range(num_epochs):
        model.train()
        running = 0.0
        for inputs, labels in loaders["train"]:
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
            running += loss.item()
        model.eval()
        correct = 0
        with torch.no_grad():
            for inputs, labels in loaders["val"]:
                correct += (model(inputs).argmax(1) == labels).sum().item()
        print("Epoch {}/{} loss {:.4f} val acc {:.4f}".format(
            epoch, num_epochs - 1, running / len(loaders["train"]), correct / len(loaders["val"].dataset)))
    print("Training complete" if time.time() > since else "")
    return model


torch.manual_seed(0)
xa, ya, xb, yb = load_digits(flat=True)
loaders = {"train": DataLoader(TensorDataset(xa, ya), batch_size=60, shuffle=True),
           "val": DataLoader(TensorDataset(xb, yb), batch_size=200)}
net = nn.Sequential(nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))
sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
decay = lr_scheduler.StepLR(sgd, step_size=5, gamma=0.1)
train_model(net, loaders, nn.CrossEntropyLoss(), sgd, decay)
