"""What a command does with a configured run in place of fitting it."""

import argparse
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from torchmlp.cli.errors import UsageError


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
