from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from imageset import load


@dataclass
class TrainerConfig:
    learning_rate: float = 0.05
    momentum: float = 0.9
    max_epochs: int = 6
    batch_size: int = 64


@dataclass
class Trainer:
    module: nn.Module
    config: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.SGD(
            self.module.parameters(), lr=self.config.learning_rate, momentum=self.config.momentum)
        self.loss_function = nn.CrossEntropyLoss()

    def _step(self, inputs: Tensor, targets: Tensor) -> float:
        loss = self.loss_function(self.module(inputs), targets)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        for epoch in range(self.config.max_epochs):
            self.module.train()
            losses = [self._step(inputs[i], targets[i]) for i in torch.randperm(len(inputs)).split(self.config.batch_size)]
            print(f"epoch={epoch} loss={sum(losses) / len(losses):.4f}")

    @torch.inference_mode()
    def score(self, inputs: Tensor, targets: Tensor) -> float:
        self.module.eval()
        return float((self.module(inputs).argmax(-1) == targets).float().mean())


def main() -> None:
    torch.manual_seed(2024)
    train, test = load("train", 1500), load("test", 400)
    x, y = map(torch.from_numpy, train)
    network = nn.Sequential(nn.Flatten(), nn.Linear(49, 48), nn.GELU(), nn.Linear(48, 10))
    trainer = Trainer(network)
    trainer.fit(x, y)
    print("test accuracy", trainer.score(*map(torch.from_numpy, test)))


if __name__ == "__main__":
    main()
