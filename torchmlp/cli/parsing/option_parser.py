"""A command's own options, beside those that are `fit`'s."""

import argparse
from difflib import get_close_matches
from typing import NoReturn

from torchmlp.cli.parsing.options import known_options
from torchmlp.cli.terminal.errors import UsageError
from torchmlp.cli.terminal.program import program

MAX_STEPS = 10_000_000  # hours, of the smallest network


class OptionParser(argparse.ArgumentParser):
    """A parser whose mistakes are a `UsageError`; help is the command's own."""

    def __init__(self, command: str) -> None:
        super().__init__(prog=command, add_help=False, allow_abbrev=False)

    def parse_words(
        self, words: list[str], *, beside_fit: bool = True
    ) -> tuple[argparse.Namespace, list[str]]:
        """The command's own options, and the words that are left to `fit`'s parser.

        Args:
            words: after the command.
            beside_fit: whether the command takes what `fit` takes too; else nothing may be left.

        Raises:
            UsageError: a value that does not fit; an option that is unknown, or that neither has
                and that is nearly one of the command's.
        """
        known, rest = self.parse_known_args(words)
        own, theirs = [f"--{name}" for name in vars(known)], known_options("fit") * beside_fit
        for word in rest:
            name = word.partition("=")[0]
            near = get_close_matches(name, own, n=1, cutoff=0.7) if name.startswith("--") else []
            if near and name not in theirs:
                self.error(f"unknown option {name}; did you mean {near[0]}?")
        if rest and not beside_fit:
            self.error(f"unknown words {' '.join(rest)}")
        return known, rest

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
