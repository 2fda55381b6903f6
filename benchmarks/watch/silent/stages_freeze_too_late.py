import torch
from torch import nn
from pictures import pictures

torch.manual_seed(0)
x, y = pictures("train", 1500)
x_val, y_val = pictures("test", 400)


class VGG(nn.Module):
    def __init__(self, frozen_stages=0, num_classes=10):
        super().__init__()
        self.frozen_stages = frozen_stages
        self.stages = nn.ModuleList([
            nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), nn.ReLU()),
            nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU()),
        ])
        self.head = nn.Linear(256, num_classes)

    def forward(self, x):
        for stage in self.stages:
            x = stage(x)
        return self.head(x.flatten(1))

    def _freeze_stages(self):
        for stage in self.stages[:self.frozen_stages]:
            for param in stage.parameters():
                param.requires_grad = False

    def train(self, mode=True):
        super().train(mode)
        if mode:
            self._freeze_stages()
        return self


def run_epoch(model, optimizer, inputs, labels):
    for idx in torch.randperm(len(inputs)).split(50):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[idx]), labels[idx])
        loss.backward()
        optimizer.step()
    return loss.item()


def fine_tune(model, epochs):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    few = torch.arange(200)
    for epoch in range(epochs):
        loss = run_epoch(model, optimizer, x[few], y[few])
        model.eval()
        with torch.no_grad():
            acc = (model(x_val).argmax(1) == y_val).float().mean().item()
        model.train()
        print(f"epoch {epoch}: loss {loss:.4f} accuracy {acc:.3f}")


pretrained = VGG()
opt = torch.optim.Adam(pretrained.parameters(), lr=3e-3)
for _ in range(8):
    print("pretraining", run_epoch(pretrained, opt, x, y))
model = VGG(frozen_stages=2)
model.stages.load_state_dict(pretrained.stages.state_dict())
fine_tune(model, 4)
