"""`predict`: write a checkpoint's predictions as CSV."""

from typing import Any

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.commands.command import Command, run_configured
from torchmlp.cli.running.purpose import Purpose
from torchmlp.cli.terminal.program import program

INTRODUCTION = """\
{program} predict --ckpt_path FILE.ckpt|best|last [options]

Writes lightning_logs/version_N/predictions.csv: a row for each test image,
with its index, the most probable class and the probability of each class.

  --ckpt_path FILE     the checkpoint; best or last: that of the newest run
  --data_root FOLDER   where the data set's files are (default: data)
  --accelerator gpu    cpu, gpu or auto (default: a GPU where there is one)
  --batch_size N       images in a minibatch (default: 64)

The network's settings and the data set are those of the checkpoint.
"""


def _help() -> str:
    from torchmlp.cli.parsing.option_help import option_help  # noqa: PLC0415  reads sources

    return INTRODUCTION.format(program=program()) + "\n" + option_help("predict")


def _predict(cli: Any, arguments: dict[str, Any]) -> int:
    from torchmlp.cli.actions.evaluate import predict  # noqa: PLC0415  imports Lightning

    return predict(cli, arguments)


def _run(words: list[str], interruption: Interruption) -> int:
    return run_configured(["predict", *words], Purpose(_predict), interruption)


COMMAND = Command("predict", "write a checkpoint's predictions as CSV", _help, _run)
