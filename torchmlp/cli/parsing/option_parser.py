"""A command's own options, beside those that are `fit`'s."""

import argparse
from typing import NoReturn

from torchmlp.cli.terminal.errors import UsageError
from torchmlp.cli.terminal.program import program

MAX_STEPS = 10_000_000  # hours, of the smallest network


class OptionParser(argparse.ArgumentParser):
    """A parser whose mistakes are a `UsageError`; help is the command's own."""

    def __init__(self, command: str) -> None:
        super().__init__(prog=command, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise what the user will read."""
        raise UsageError(f"{self.prog}: {message}\nAll options: {program()} {self.prog} --help")


def check_steps(command: str, steps: int) -> None:
    """Refuse a number of steps that no run takes, or that none ever ends.

    Raises:
        UsageError: below 1 or above `MAX_STEPS`.
    """
    if steps < 1:
        raise UsageError(f"{command}: expected --steps of at least 1, got {steps}")
    if steps > MAX_STEPS:
        raise UsageError(f"{command}: expected --steps of at most {MAX_STEPS}, got {steps}")
