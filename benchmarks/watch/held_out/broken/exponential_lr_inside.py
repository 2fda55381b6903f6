import torch
from torch import nn


class SegmentationTrainer:
    """Trains a small fully convolutional network to find discs in noise."""

    def __init__(self):
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.2, momentum=0.8)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, gamma=0.9)
        self.criterion = nn.BCEWithLogitsLoss()

    @staticmethod
    def scenes(n, size=12):
        grid = torch.arange(size).float()
        cx, cy, r = torch.rand(n, 1, 1) * size, torch.rand(n, 1, 1) * size, torch.rand(n, 1, 1) * 2 + 2
        mask = ((grid[None, :, None] - cx) ** 2 + (grid[None, None, :] - cy) ** 2 < r ** 2).float().unsqueeze(1)
        return mask + 0.5 * torch.randn_like(mask), mask

    def train_epoch(self, batches=25):
        total = count = 0
        for _ in range(batches):
            image, mask = self.scenes(16)
            loss = self.criterion(self.net(image), mask)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            total, count = total + loss.item(), count + 1
        return total / count

    def iou(self):
        with torch.no_grad():
            image, mask = self.scenes(100)
            found = self.net(image) > 0
        return ((found & (mask > 0)).sum() / (found | (mask > 0)).sum()).item()


torch.manual_seed(0)
trainer = SegmentationTrainer()
for epoch in range(1, 11):
    loss = trainer.train_epoch()
    print(f"epoch {epoch}: loss {loss:.4f} IoU {trainer.iou():.3f}")
