"""The folder of a run, and what is written into it."""

import csv
import json
import os
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from torchmlp._compat.lightning import pl
from torchmlp._runtime.atomic_file import atomic_writer, sweep, write_atomically

from lightning_fabric.loggers.logger import rank_zero_experiment  # isort: skip  after pl
from pytorch_lightning.loggers.csv_logs import ExperimentWriter  # isort: skip

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
        Rows(root, name, version),
    ]


class Rows(pl.loggers.CSVLogger):
    """Lightning's metrics.csv, of rows that are given twice in a row only one.

    A row is written before the checkpoint of its step and given again after it. And the file is
    never half there: a new column has it written anew, beside the old one.
    """

    _last: tuple[Any, ...] | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """What writes the file."""
        if self._experiment is None:
            self._fs.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _Writer(log_dir=self.log_dir)
        return self._experiment

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Write a row, unless it is the last one again."""
        if (metrics, step) != self._last:
            self._last = metrics, step
            super().log_metrics(metrics, step)


class _Writer(ExperimentWriter):
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        with atomic_writer(path) as file:
            text = TextIOWrapper(file, encoding="utf-8", newline="")
            writer = csv.DictWriter(text, fieldnames)
            writer.writeheader()
            writer.writerows(rows)
            text.detach()  # flushed, and left open


def write_summary(folder: str | os.PathLike[str], summary: dict[str, Any]) -> Path:
    """Write summary.json: what the run was trained and measured on, and what it reached."""
    path = Path(folder) / "summary.json"
    write_atomically(path, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return path
