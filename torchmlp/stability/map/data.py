"""The data of a map: what its cells train on, and what they are scored on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from torchmlp.data.batches.in_memory import Batches
from torchmlp.diagnosis.measure.data_statistics import gathered, measure_targets
from torchmlp.diagnosis.run.run import Batch
from torchmlp.stability.map.cell import Cell


@dataclass(frozen=True, eq=False)
class MapData:
    """Labelled samples in memory.

    Attributes:
        inputs: (samples, *features), uint8 pixels or floating.
        labels: (samples,), class indices, int64.
        held_inputs: the same, held out.
        held_labels: theirs.
        chance: accuracy of a guess.
        reachable: accuracy of a simple probe, nearest mean or nearest neighbour; `chance` where
            there are too few samples for one.
    """

    inputs: Tensor
    labels: Tensor
    held_inputs: Tensor
    held_labels: Tensor
    chance: float
    reachable: float

    @classmethod
    def of(
        cls, inputs: Tensor, labels: Tensor, held_inputs: Tensor, held_labels: Tensor
    ) -> "MapData":
        """Samples with what a probe makes of the first few thousand of them.

        Raises:
            ValueError: no samples, other numbers of labels, or values that are not finite.
            TypeError: labels that are no class indices.
        """
        for name, x, target in (("", inputs, labels), ("held out ", held_inputs, held_labels)):
            if target.ndim != 1 or target.is_floating_point():
                raise TypeError(
                    f"a map needs class indices as {name}labels, one for each sample, got shape "
                    f"{tuple(target.shape)}, {target.dtype}"
                )
            Batches(x, target, 1)  # refuses what is empty, does not fit or is not finite
        size = min(len(inputs), 500)
        few = gathered(list(islice(Batches(inputs, labels, size, shuffle=True), 4)))
        found = measure_targets(*few, units=0, loss="cross_entropy")
        probes = [p for p in (found.nearest_mean, found.nearest_neighbour) if p is not None]
        chance = float(found.chance)
        return cls(
            inputs, labels, held_inputs, held_labels, chance, max([chance, *map(float, probes)])
        )

    @property
    def features(self) -> int:
        """Numbers that make a sample."""
        return self.inputs[0].numel()

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(max(self.labels.max(), self.held_labels.max())) + 1

    @property
    def size_bytes(self) -> int:
        """Memory that they take."""
        tensors = (self.inputs, self.labels, self.held_inputs, self.held_labels)
        return sum(t.numel() * t.element_size() for t in tensors)

    def to(self, dtype: torch.dtype) -> "MapData":
        """The same with inputs of that dtype; pixels stay as they are."""
        x, held = self.inputs, self.held_inputs
        if x.dtype == torch.uint8:
            return self
        return replace(self, inputs=x.to(dtype), held_inputs=held.to(dtype))

    def rows(self, cell: Cell) -> int:
        """Samples in a batch: the cell's batch size, or all there are."""
        return min(cell.batch_size, len(self.inputs))

    def batches(self, cell: Cell, steps: int) -> Iterator[Batch]:
        """The batches of a run, epoch after epoch: a function of the cell's seed and batch size."""
        own = Batches(
            self.inputs, self.labels, self.rows(cell), shuffle=True, seed=cell.seed, drop_last=True
        )
        return islice((batch for _ in range(steps) for batch in own), steps)

    def epoch(self, cell: Cell, steps: int) -> list[Batch]:
        """The batches of a run up to the end of its first epoch."""
        return list(self.batches(cell, min(steps, len(self.inputs) // self.rows(cell))))
