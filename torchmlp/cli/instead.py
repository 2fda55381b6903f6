"""Base of the commands that reuse fit's configuration."""

import argparse
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from torchmlp.cli.errors import UsageError

MAX_STEPS = 10_000_000  # hours, of the smallest network


@dataclass(frozen=True)
class Instead:
    """Options of such a command.

    Attributes:
        has_run_folder: whether it writes into a run's folder, lightning_logs/version_N.
    """

    has_run_folder: ClassVar[bool] = True

    def run(self, cli: Any) -> int:
        """Do it with the command line's model, data and trainer.

        Returns:
            The exit code.
        """
        raise NotImplementedError


class OptionParser(argparse.ArgumentParser):
    """A parser for the command's own options, which leaves the others to `fit`'s."""

    def __init__(self, command: str) -> None:
        super().__init__(prog=command, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise what the user will read."""
        raise UsageError(f"{self.prog}: {message}\nAll options: python train.py {self.prog} --help")


def check_steps(command: str, steps: int) -> None:
    """Refuse a number of steps that no run takes, or that none ever ends.

    Raises:
        UsageError: below 1 or above `MAX_STEPS`.
    """
    if steps < 1:
        raise UsageError(f"{command}: expected --steps of at least 1, got {steps}")
    if steps > MAX_STEPS:
        raise UsageError(f"{command}: expected --steps of at most {MAX_STEPS}, got {steps}")
