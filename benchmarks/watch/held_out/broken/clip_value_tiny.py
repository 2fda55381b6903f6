import torch
from torch import nn


class ForecastModel(nn.Module):
    def __init__(self, hparams):
        super().__init__()
        self.hparams = hparams
        self.backbone = nn.Sequential(nn.Linear(hparams['window'], 32), nn.ELU(), nn.Linear(32, 32), nn.ELU())
        self.head = nn.Linear(32, 1)

    def forward(self, x):
        return self.head(self.backbone(x))

    def training_step(self, batch):
        x, y = batch
        return nn.functional.mse_loss(self(x), y)

    def fit(self, windows, targets):
        opt = torch.optim.SGD(self.parameters(), lr=self.hparams['lr'], momentum=0.9)
        for epoch in range(self.hparams['epochs']):
            for i in torch.randperm(len(windows)).split(self.hparams['batch_size']):
                opt.zero_grad()
                loss = self.training_step((windows[i], targets[i]))
                loss.backward()
                torch.nn.utils.clip_grad_value_(self.parameters(), self.hparams['gradient_clip_val'])
                opt.step()
            print({'epoch': epoch, 'train_loss': round(loss.item(), 5)})


hparams = {'window': 12, 'lr': 0.1, 'epochs': 10, 'batch_size': 32, 'gradient_clip_val': 1e-5}
torch.manual_seed(0)
t = torch.arange(0, 700).float()
series = torch.sin(t / 5) + 0.5 * torch.sin(t / 11) + 0.05 * torch.randn(700)
windows = series.unfold(0, 13, 1)
model = ForecastModel(hparams)
model.fit(windows[:550, :12], windows[:550, 12:])
with torch.no_grad():
    print('test mse', nn.functional.mse_loss(model(windows[550:, :12]), windows[550:, 12:]).item(), 'variance', series.var().item())
