import torch
from torch import nn
from pictures import pictures

torch.manual_seed(0)
x, y = pictures("train", 1000)
x = x.flatten(1)
tasks = {"parity": (y % 2, 2), "large": ((y > 4).long(), 2), "digit": (y, 10)}


class PreTrainedModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.heads = nn.ModuleDict()
        self.post_init()

    def post_init(self):
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)

    def add_head(self, name, n_classes):
        self.heads[name] = nn.Linear(32, n_classes)
        self.post_init()

    def forward(self, x, head):
        return self.heads[head](self.body(x))


model = PreTrainedModel()
for head, (labels, n_classes) in tasks.items():
    model.add_head(head, n_classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(4):
        for idx in torch.randperm(len(x)).split(40):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[idx], head), labels[idx])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        scores = {h: (model(x, h).argmax(1) == tasks[h][0]).float().mean().item() for h in model.heads}
    print("after", head, {h: round(s, 3) for h, s in scores.items()})
