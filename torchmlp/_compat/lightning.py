"""pytorch_lightning, imported once torchvision can be: its torchmetrics imports torchvision."""

from torchmlp._compat.torchvision_repair import import_torchvision

import_torchvision()

import pytorch_lightning as pl  # noqa: E402  after the repair

__all__ = ["pl"]
