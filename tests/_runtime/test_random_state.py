import random
from pathlib import Path

import numpy as np
import torch

from torchmlp._runtime.random_state import random_state, set_random_state


def draw() -> list[float]:
    """One number from each generator; the second of a pair from those that draw in pairs."""
    return [
        float(torch.rand(())),
        float(torch.randn(())),
        float(np.random.rand()),  # noqa: NPY002
        float(np.random.randn()),  # noqa: NPY002
        random.random(),
        random.gauss(0, 1),
    ]


def test_what_was_drawn_is_drawn_again(tmp_path: Path) -> None:
    """From a file that torch loads without running code, in the middle of a pair too."""
    draw()
    torch.save(random_state(), tmp_path / "state.pt")
    first = [draw(), draw()]
    draw()
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [draw(), draw()] == first
