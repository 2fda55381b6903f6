"""What is done with a configured run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Purpose:
    """What is done with a model, data and trainer once a command line has configured them.

    Attributes:
        action: (configured run, Lightning's arguments) -> exit code; imports what it needs.
        trains: whether it fits, with a monitor, and keeps a checkpoint when it is interrupted.
        has_run_folder: whether it writes into a run's folder, lightning_logs/version_N.
    """

    action: Callable[[Any, dict[str, Any]], int]
    trains: bool = False
    has_run_folder: bool = True
