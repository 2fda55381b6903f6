"""`validate`: measure a checkpoint on the validation images."""

from typing import Any

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.commands.command import Command, run_configured
from torchmlp.cli.running.purpose import Purpose
from torchmlp.cli.terminal.program import program

INTRODUCTION = """\
{program} validate --ckpt_path FILE.ckpt|best|last [options]

Measures a checkpoint on the validation images. Prints `val accuracy` with the
data it was measured on, and the loss; writes its settings and the figures into
lightning_logs/version_N (config.yaml, metrics.csv).

  --ckpt_path FILE     the checkpoint; best or last: that of the newest run
  --data_root FOLDER   where the data set's files are (default: data)
  --accelerator gpu    cpu, gpu or auto (default: a GPU where there is one)
  --batch_size N       images in a minibatch (default: 64)

The network's settings and the data set are those of the checkpoint.
"""


def _help() -> str:
    from torchmlp.cli.parsing.option_help import option_help  # noqa: PLC0415  reads sources

    return INTRODUCTION.format(program=program()) + "\n" + option_help("validate")


def _validate(cli: Any, arguments: dict[str, Any]) -> int:
    from torchmlp.cli.actions.evaluate import validate  # noqa: PLC0415  imports Lightning

    return validate(cli, arguments)


def _run(words: list[str], interruption: Interruption) -> int:
    return run_configured(["validate", *words], Purpose(_validate), interruption)


COMMAND = Command("validate", "measure a checkpoint on the validation images", _help, _run)
