"""Which rates are run, one after the other, and which of them are stable."""

import math

from torchmlp.diagnosis.record.thresholds import SLOW
from torchmlp.stability.lr_finder.trial_runs import End, RateRuns

FACTOR = math.sqrt(10.0)  # between the rates that are tried
CLOSE = 1.5  # of the least unstable rate over the largest stable one


class RateSteps:
    """Runs at constant rates, each made once.

    Args:
        runs: make them.
        grid: rates, the smallest first.

    Attributes:
        ends: how they ended, by rate.
    """

    def __init__(self, runs: RateRuns, grid: list[float]) -> None:
        self.runs, self.grid = runs, grid
        self.ends: dict[float, End] = {}

    def confirm(self, broke: float) -> None:
        """Run at the rates around the one where the sweep broke, then at the edge of stability.

        Downwards until a smaller rate is slow, for the first one that learns anything need not be
        the best; upwards until one is not stable.
        """
        first = min(range(len(self.grid)), key=lambda k: abs(math.log(self.grid[k] / broke)))
        for rate in self.grid[first::-1]:
            self._run(rate)
            if self._is_slow(rate):
                break
        for rate in self.grid[first + 1 :]:
            stable = self.stable()
            if stable and max(self.ends) not in stable:
                break
            self._run(rate)
        while self.stable():
            largest, above = self.edge()
            if above <= CLOSE * largest:
                return
            self._run(math.sqrt(largest * above))

    def _run(self, rate: float) -> None:
        self.ends[rate] = self.runs.end(rate)

    def best(self) -> float | None:
        """The rate whose run ended lowest, of those that have learned anything."""
        learned = {
            rate: end.loss
            for rate, end in self.ends.items()
            if end.tells_apart and end.loss < self.runs.at_start
        }
        return min(learned, key=lambda rate: learned[rate]) if learned else None

    def _is_slow(self, rate: float) -> bool:
        """Whether a run has learned, but less than the best one, whose rate is larger."""
        best, end = self.best(), self.ends[rate]
        if best is None or rate >= best or not end.tells_apart:
            return False
        return self._enough() < end.loss < self.runs.at_start

    def _enough(self) -> float:
        """The loss that a run has to end below."""
        best = self.best()
        assert best is not None
        loss, dealt, *_ = self.ends[best]
        # A start far from the targets' mean would make a success of learning that mean.
        return loss + (1 - SLOW) * (min(self.runs.at_start, dealt) - loss)

    def stable(self) -> list[float]:
        """The rates whose runs train; those below the best need no more than be finite."""
        best = self.best()
        if best is None:
            return []
        enough = self._enough()
        return [
            rate
            for rate, end in sorted(self.ends.items())
            if (end.tells_apart and end.loss <= enough if rate > best else not end.broke)
        ]

    def edge(self) -> tuple[float, float]:
        """The rate up to which all are stable, and the one above it; itself where there is none."""
        largest, stable = self.best(), self.stable()
        assert largest is not None
        for rate in sorted(self.ends):
            if rate > largest and rate not in stable:
                return largest, rate
            largest = max(largest, rate)
        return largest, largest

    def reason(self) -> str:
        """Why no rate is stable."""
        rate = min(self.ends)
        if self.ends[rate].broke:
            return f"even at {rate:.3g} {self.ends[rate].broke}"
        broken = sum(bool(end.broke) for end in self.ends.values())
        rest = f"; {broken} of {len(self.ends)} runs broke" if broken else ""
        return (
            f"no run of {self.runs.steps} steps learned to tell one sample from another{rest}; "
            f"diagnose() says why, or try more steps"
        )
