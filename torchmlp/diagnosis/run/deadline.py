"""The time that a diagnosis has."""

import math
import time


class OutOfTimeError(Exception):
    """What was being tried could not be finished."""


class Deadline:
    """Counts from its making; None is no limit.

    Args:
        seconds: by the clock.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self._end = time.perf_counter() + self.seconds

    @property
    def has_passed(self) -> bool:
        """Whether the time is out."""
        return time.perf_counter() >= self._end

    @property
    def left(self) -> float:
        """Seconds, at least 0."""
        return max(self._end - time.perf_counter(), 0.0)

    @property
    def share_passed(self) -> float:
        """Of the time, how much has passed; 0 without a limit."""
        return 1 - self.left / self.seconds if math.isfinite(self.seconds) else 0.0

    def check(self) -> None:
        """Go on.

        Raises:
            OutOfTimeError: the time is out.
        """
        if self.has_passed:
            raise OutOfTimeError
