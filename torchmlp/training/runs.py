"""The folder of a run, and what is written into it."""

import json
import os
from pathlib import Path
from typing import Any

from torchmlp.data.whole_file import sweep, write_whole
from torchmlp.training.lightning import pl

LOGS = "lightning_logs"


def new_run_folder(root: str | os.PathLike[str]) -> Path:
    """Make and return the next free `root`/lightning_logs/version_N.

    Made at once, so that two runs started together get two folders. What killed runs have left half
    written in theirs is removed.

    Raises:
        OSError: the folder cannot be made or written; the message names it.
    """
    logs = Path(root) / LOGS
    try:
        logs.mkdir(parents=True, exist_ok=True)
        numbers = [path.name.removeprefix("version_") for path in logs.glob("version_*")]
        version = max((int(number) for number in numbers if number.isdigit()), default=-1) + 1
        for folder in (*logs.glob("version_*"), *logs.glob("version_*/checkpoints")):
            sweep(folder)
        while True:
            folder = logs / f"version_{version}"
            try:
                folder.mkdir()
            except FileExistsError:
                version += 1
                continue
            return folder
    except OSError as error:
        raise OSError(
            f"log folder {logs} cannot be written ({error.strerror}); choose another with "
            f"--trainer.default_root_dir"
        ) from error


def loggers_for(folder: Path) -> list[pl.loggers.Logger]:
    """TensorBoard's and the CSV logger, both writing into `folder`."""
    root, name = folder.parent.parent, folder.parent.name
    version = int(folder.name.removeprefix("version_"))
    return [
        pl.loggers.TensorBoardLogger(root, name, version, default_hp_metric=False),
        pl.loggers.CSVLogger(root, name, version),
    ]


def write_summary(folder: str | os.PathLike[str], summary: dict[str, Any]) -> Path:
    """Write summary.json: what the run was trained and measured on, and what it reached."""
    path = Path(folder) / "summary.json"
    write_whole(path, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return path
