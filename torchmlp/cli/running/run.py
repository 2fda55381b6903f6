"""Running one command, and the exit code of every way it can end."""

import dis
import logging
import sys
import warnings
from typing import TextIO

from torchmlp._compat.lightning import pl
from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.running.checkpoint_argument import resolve_checkpoint
from torchmlp.cli.running.configured_run import ConfiguredRun
from torchmlp.cli.running.processes import LostProcessError
from torchmlp.cli.running.purpose import Purpose
from torchmlp.cli.terminal.errors import UsageError, innermost, short
from torchmlp.cli.terminal.exit_codes import DONE, FAILED, SICK
from torchmlp.cli.terminal.program import program
from torchmlp.data import DataError
from torchmlp.lightning.callbacks.terminate_on_nonfinite import NonFiniteLossError
from torchmlp.lightning.checkpoints.save_when_interrupted import SaveWhenInterrupted

from lightning_fabric.utilities.exceptions import (  # isort: skip  after torchvision's repair
    MisconfigurationException,
)


def run(words: list[str], purpose: Purpose, interruption: Interruption | None = None) -> int:
    """Run a command line that `rewrite` has seen.

    Args:
        words: LightningCLI's own, the command first.
        purpose: what is done with the run that they configure.
        interruption: hears Ctrl-C and SIGTERM; None leaves them to Lightning.

    Returns:
        The exit code; 2 is raised as UsageError.
    """
    _silence_lightning()
    saving = SaveWhenInterrupted(interruption)
    try:
        return _run(words, purpose, saving)
    except BaseException:
        # Whatever has become of what it broke off: there was a signal.
        if saving.interruption.number is None:
            raise
        _print_interruption(saving, trains=purpose.trains)
        return saving.interruption.exit_code


def _run(words: list[str], purpose: Purpose, saving: SaveWhenInterrupted) -> int:
    try:
        return ConfiguredRun(resolve_checkpoint(words), purpose, saving).exit_code
    except NonFiniteLossError as error:
        _print_error(f"sick: {error}")
        for note in getattr(error, "__notes__", ()):
            _print_error(note)
        return SICK
    except SystemExit as error:
        if saving.interruption.number is not None:
            raise
        return int(error.code or DONE)  # --help, --print_config
    except (DataError, LostProcessError) as error:
        if str(error):
            _print_error(f"error: {short(str(error))}")
        return FAILED
    except Exception as error:
        if mistake := _mistake_in(error):
            raise UsageError(short(mistake)) from error
        raise


def _mistake_in(error: Exception) -> str:
    """What a user did wrong, in words; "" for any other error, which keeps its traceback."""
    if "embedded null" in str(error):
        return "a path holds a NUL character, which no path can"
    if _is_users_mistake(error):
        return innermost(str(error))
    if _is_of_checkpoint(error):
        return f"--ckpt_path: the checkpoint does not fit the run: {_said(error)}"
    return ""


def _print_interruption(saving: SaveWhenInterrupted, *, trains: bool) -> None:
    cause = saving.interruption.word
    if getattr(pl.utilities.rank_zero_only, "rank", 0):
        return  # the first process tells of all
    if saving.saved:
        path = saving.saved
        config = path.parent.parent / "config.yaml"
        again = (
            f"--config {config} --ckpt_path {path}" if config.exists() else f"--ckpt_path {path}"
        )
        _print_error(f"{cause}; saved {path}\ngo on with: {program()} fit {again}")
    elif saving.has_ended:
        _print_error(
            f"{cause}; the training is finished, its checkpoints are in {saving.has_ended}"
        )
    else:
        _print_error(f"{cause}; nothing further was saved" if trains else cause)


def _is_of_checkpoint(error: Exception) -> bool:
    """Whether Lightning was taking a checkpoint in: what is in it may be anything."""
    trace, modules = error.__traceback__, set()
    while trace:
        modules.add(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    return "pytorch_lightning.trainer.connectors.checkpoint_connector" in modules


def _said(error: Exception) -> str:
    """What an error says, or what kind it is where that is a lone name."""
    said = innermost(str(error))
    return said if " " in said else f"{type(error).__name__} {said}"


def _is_users_mistake(error: Exception) -> bool:
    """Whether a raise statement of this package or a check of Lightning's is behind the error.

    Anything else, such as an error in a user's own module or a mistake in this one, keeps its
    traceback.
    """
    if isinstance(error, MisconfigurationException):
        return True
    if not isinstance(error, ValueError | TypeError):
        return False
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None:
        return False
    raiser = trace.tb_frame.f_globals.get("__name__", "").partition(".")[0]
    raised = dis.opname[trace.tb_frame.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
    return raised and raiser in (
        "torchmlp",
        "jsonargparse",
        "pytorch_lightning",
        "lightning_fabric",
    )


def _silence_lightning() -> None:
    """Leave what a user can act on: warnings in one line, none of Lightning's announcements."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    for harmless in (
        ".*does not have many workers",
        ".*The number of training batches .* is smaller than the logging interval",
        ".*(Checkpoint|Experiment logs) directory .* exists and is not empty",
        ".*callbacks used to create the checkpoint need to be provided",
        ".*could not find the monitored key",  # the run ended before its first validation
        ".*across ranks is zero",  # val_size 0: nothing is held out, on purpose
        ".*treespec, LeafSpec",  # Lightning's own use of torch
    ):
        warnings.filterwarnings("ignore", harmless)
    warnings.showwarning = _one_line


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del category, filename, lineno, file, line
    _print_error(f"warning: {short(str(message), lines=6)}")


def _print_error(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  the program's words to its user
