import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset
from imageset import load

torch.manual_seed(0)
train_set = TensorDataset(*map(torch.from_numpy, load("train", 1500)))
test_x, test_y = map(torch.from_numpy, load("test", 400))
loader = DataLoader(train_set, batch_size=60, shuffle=True)

model = nn.Sequential(nn.Flatten(), nn.Linear(49, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
swa_model = AveragedModel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
swa_scheduler = SWALR(optimizer, swa_lr=0.05, anneal_epochs=2)
swa_start = 5


def accuracy(net):
    net.eval()
    with torch.no_grad():
        return (net(test_x).argmax(1) == test_y).float().mean().item()


for epoch in range(10):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    if epoch >= swa_start:
        swa_model.update_parameters(model)
        swa_scheduler.step()
    else:
        scheduler.step()
    print("epoch %d loss %.3f acc %.3f lr %.3f" % (epoch, loss.item(), accuracy(model), optimizer.param_groups[0]["lr"]))

update_bn(loader, swa_model)
print("averaged model", accuracy(swa_model))
