"""The combinations of a map: every width with every depth, batch size, rate, start and seed."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from torchmlp.kernels.init import parse_init
from torchmlp.stability.map.cell import Cell

DIGITS = 12  # of a rate inside a range, so that 0.1 is 0.1 however it was reached
LARGEST_SEED = 2**32 - 1  # Lightning's seed_everything takes no larger one
_RANGE = re.compile(r"([^:]+):([^:]+):(\d+)(log|lin)?")


def parse_rates(words: Sequence[str]) -> list[float]:
    """Learning rates from numbers and ranges, each once, the smallest first.

    Args:
        words: numbers ("0.1") and ranges: "0.01:10:7log" is seven rates from 0.01 to 10 with equal
            ratios between neighbours, "0.1:1:10lin" or "0.1:1:10" ten with equal differences.

    Raises:
        ValueError: no word, one that is neither number nor range, a rate that is not above 0 and
            finite, or a range that goes downwards.

    Example:
        >>> parse_rates(["0.01:10:4log", "0.5", "1"])
        [0.01, 0.1, 0.5, 1.0, 10.0]
    """
    rates = {rate for word in words for rate in _rates(word)}
    if not rates:
        raise ValueError("no learning rate, expected at least one: 0.1, or a range 0.01:10:7log")
    return sorted(rates)


def _rates(word: str) -> list[float]:
    if ":" not in word:
        return [_rate(word, word)]
    found = _RANGE.fullmatch(word.strip())
    if not found:
        raise ValueError(
            f"learning rates {word!r}: expected a number, or a range as 0.01:10:7log or 0.1:1:10lin"
        )
    low, high, count = _rate(found[1], word), _rate(found[2], word), int(found[3])
    if low > high:
        raise ValueError(
            f"learning rates {word!r}: the range goes from {low:g} down to {high:g}, expected the "
            f"smaller first"
        )
    if count < (1 if low == high else 2):
        raise ValueError(
            f"learning rates {word!r}: expected at least two of them, for both ends are included"
        )
    shares = [k / (count - 1) for k in range(1, count - 1)]
    if found[4] == "log":
        inside = [low * (high / low) ** share for share in shares]
    else:
        inside = [low + (high - low) * share for share in shares]
    return [low, *(float(f"{rate:.{DIGITS}g}") for rate in inside), high]


def _rate(number: str, word: str) -> float:
    try:
        rate = float(number)
    except ValueError:
        raise ValueError(
            f"learning rate {word!r}: expected a number, or a range as 0.01:10:7log"
        ) from None
    return _checked_rate(rate, word)


def _checked_rate(rate: float, given: object) -> float:
    if not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"learning rate {given}: expected a finite number above 0, as 0.1")
    return float(rate)


@dataclass(frozen=True)
class Grid:
    """The values whose combinations a map is made of.

    Each is kept once, numbers in rising order, initialisations as they came.

    Attributes:
        widths: units of every hidden layer.
        depths: numbers of hidden layers.
        batch_sizes: B.
        lrs: learning rates η.
        inits: initial weights, by name.
        seeds: of weights and order.

    Raises:
        ValueError: an empty list, a size below 1, a rate that is not above 0 and finite, an
            unknown initialisation, or a seed that is none.
    """

    widths: tuple[int, ...] = (32, 128, 512, 1000, 2048)
    depths: tuple[int, ...] = (1,)
    batch_sizes: tuple[int, ...] = (8, 64, 512)
    lrs: tuple[float, ...] = tuple(parse_rates(["0.01:10:7log"]))
    inits: tuple[str, ...] = ("auto",)
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            values = tuple(dict.fromkeys(getattr(self, name)))
            if not values:
                raise ValueError(f"the map has no {name}, expected at least one value")
            object.__setattr__(self, name, values if name == "inits" else tuple(sorted(values)))
        for name in ("widths", "depths", "batch_sizes"):
            least = getattr(self, name)[0]
            if least < 1:
                raise ValueError(f"the map's {name} hold {least}, expected at least 1")
        for rate in self.lrs:
            _checked_rate(rate, rate)
        for init in self.inits:
            parse_init(init)
        for seed in self.seeds:
            if not 0 <= seed <= LARGEST_SEED:
                raise ValueError(
                    f"the map's seeds hold {seed}, expected numbers from 0 to {LARGEST_SEED}"
                )

    def __len__(self) -> int:
        """The number of cells."""
        return math.prod(len(getattr(self, name)) for name in self.__dataclass_fields__)

    def cells(self) -> list[Cell]:
        """Every combination; those of one shape and batch size, which train together, in a row."""
        return [
            Cell(width, depth, batch_size, lr, init, seed)
            for depth, batch_size, width, init, lr, seed in product(
                self.depths, self.batch_sizes, self.widths, self.inits, self.lrs, self.seeds
            )
        ]
