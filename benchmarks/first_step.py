"""A callback that ends the process at the first training step: what `startup.py` waits for."""

import os
from typing import Any

import pytorch_lightning as pl


class FirstStep(pl.Callback):
    """Ends the process once the first batch has been trained on."""

    def on_train_batch_end(self, *arguments: Any, **named: Any) -> None:
        """Leave without Python's clearing up, which is no part of a start."""
        del arguments, named
        os._exit(0)
