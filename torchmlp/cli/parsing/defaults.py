"""What `fit` trains where nothing else is asked for; what the classes' own defaults are not."""

from typing import Any

DEFAULTS: dict[str, dict[str, Any]] = {
    "model": {
        "class_path": "torchmlp.Classifier",
        "init_args": {"dropout": 0.3, "input_dropout": 0.2},
    },
    "data": {"class_path": "torchmlp.ImageDataModule", "init_args": {"max_shift": 1}},
    "optimizer": {
        "class_path": "torch.optim.SGD",
        "init_args": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    },
    "lr_scheduler": {"class_path": "torchmlp.OneCycle"},
}
TRAINER_DEFAULTS = {"max_epochs": 20, "log_every_n_steps": 50}
