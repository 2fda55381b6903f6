"""`fit`: train, test the best checkpoint, and say what came of it."""

import time
from pathlib import Path
from typing import Any

from torchmlp.cli.actions.evaluate import measure_on_test
from torchmlp.cli.actions.output import short_path, summary
from torchmlp.cli.terminal.exit_codes import DONE
from torchmlp.cli.terminal.program import program
from torchmlp.lightning.run_folder import write_summary


def fit(cli: Any, arguments: dict[str, Any]) -> int:
    """Train, then test the best checkpoint.

    Args:
        cli: the configured run.
        arguments: Lightning's, for Trainer.fit.
    """
    start = time.monotonic()
    cli.trainer.fit(**arguments)
    seconds = time.monotonic() - start
    if cli.given["trainer"]["fast_dev_run"]:
        cli.say("fast run: one batch through every stage; nothing was written")
        return DONE
    trained_by = getattr(cli.model, "trained_by", "")
    if trained_by.startswith("autograd"):
        cli.say(f"trained by {trained_by}")
    if reason := cli.given["stop"].reason:
        cli.say(f"stopped after {cli.trainer.current_epoch} epochs: {reason}")
    kept = cli.checkpoints
    # A run that max_steps or max_time ends within its first epoch has a last, but no best.
    best = (kept.best_model_path or kept.last_model_path) if kept else ""
    metrics = measure_on_test(cli, best or None)
    if best:
        cli.say(f"checkpoint {(best := short_path(best))}")
    _say_findings(cli)
    if cli.folder:
        write_summary(cli.folder, summary(cli, metrics, seconds, best))
        cli.say(f"logs {short_path(cli.folder)} ({', '.join(_listed(cli.folder))})")
    return DONE


def _say_findings(cli: Any) -> None:
    report = cli.monitor.report if cli.monitor else None
    if report is None or report.healthy:
        return
    for finding in report.findings:
        cli.say(f"diagnosis: {finding}")
    if cli.folder:
        cli.say(f"more: {program()} report {short_path(cli.folder)}")


def _listed(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.iterdir() if path.suffix in (".csv", ".json", ".yaml")
    )
