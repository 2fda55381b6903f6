"""A cell of the map, and what came of it: plain data."""

from dataclasses import asdict, dataclass
from typing import Any

# From the worst to the best.
OUTCOMES = ("nan", "diverged", "stuck", "slow", "learns")


@dataclass(frozen=True, order=True)
class Cell:
    """One combination, trained by itself.

    Attributes:
        width: units of every hidden layer.
        depth: number of hidden layers.
        batch_size: B.
        lr: learning rate η.
        init: initial weights, by name.
        seed: of the weights and of the order of the samples.
    """

    width: int
    depth: int
    batch_size: int
    lr: float
    init: str
    seed: int


@dataclass(frozen=True)
class CellResult:
    """What came of a cell.

    Attributes:
        cell: the combination.
        outcome: one of `OUTCOMES`.
        step: the first step, from 1, whose loss was nan or infinite; None where none was.
        first_loss: of the first step; None where not finite.
        loss: mean of the last tenth of the steps; None where one of them was not finite.
        accuracy: on images held out, a share of 1; None where the outputs were not finite.
        cause: what the diagnosis names first, for an outcome other than "learns"; None where it
            names nothing.
        largest_rate: 2 / λmax of the first batch's loss at the start: the largest stable rate of
            plain descent; None where it is not finite.
        seconds: that it took, its share of what was trained together.
    """

    cell: Cell
    outcome: str
    step: int | None
    first_loss: float | None
    loss: float | None
    accuracy: float | None
    cause: str | None
    largest_rate: float | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As one flat object, the cell's settings first."""
        own = asdict(self)
        return {**own.pop("cell"), **own}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CellResult":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError: fields that are missing or too many.
        """
        names = Cell.__dataclass_fields__
        cell = Cell(**{name: values[name] for name in names})
        return cls(cell, **{name: v for name, v in values.items() if name not in names})
