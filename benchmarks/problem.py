"""The networks that steps are timed on: one start and one batch for every provider.

It imports numpy alone, for the processes in which torch is not to be.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """A ReLU network with cross-entropy, a batch, and where its parameters start.

    Attributes:
        network: its sizes: 784-128-10, or 784-64x8-10 for eight hidden layers of 64.
        batch: samples, B.
        optimizer: "sgd" or "adam", the latter with torch's defaults but for the rate.
    """

    network: str
    batch: int
    optimizer: str = "sgd"

    @cached_property
    def sizes(self) -> list[int]:
        """Of the input and of every layer."""
        found: list[int] = []
        for part in self.network.split("-"):
            size, _, times = part.partition("x")
            found += [int(size)] * int(times or 1)
        return found

    @cached_property
    def start(self) -> list[Floats]:
        """W_1, b_1, ..., W_L, b_L: He's initialisation, small biases."""
        random = np.random.default_rng(0)
        found = []
        for fan_in, fan_out in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            scale = np.sqrt(2 / fan_in)
            found.append((scale * random.standard_normal((fan_out, fan_in))).astype(np.float32))
            found.append((0.1 * random.standard_normal(fan_out)).astype(np.float32))
        return found

    @cached_property
    def x(self) -> Floats:
        """Values in 0..1, (B, fan_in)."""
        return np.random.default_rng(1).random((self.batch, self.sizes[0]), dtype=np.float32)

    @cached_property
    def target(self) -> NDArray[np.int64]:
        """Labels, (B,)."""
        return np.random.default_rng(2).integers(0, self.sizes[-1], self.batch)
