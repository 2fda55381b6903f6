"""`test`: measure a checkpoint on the test images."""

from typing import Any

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.commands.command import Command, run_configured
from torchmlp.cli.running.purpose import Purpose
from torchmlp.cli.terminal.program import program

INTRODUCTION = """\
{program} test --ckpt_path FILE.ckpt|best|last [options]

Measures a checkpoint on the test images. Prints `test accuracy` with the data
it was measured on, and the loss; writes its settings and the figures into
lightning_logs/version_N (config.yaml, metrics.csv).

  --ckpt_path FILE     the checkpoint; best or last: that of the newest run
  --data_root FOLDER   where the data set's files are (default: data)
  --accelerator gpu    cpu, gpu or auto (default: a GPU where there is one)
  --batch_size N       images in a minibatch (default: 64)

The network's settings and the data set are those of the checkpoint.
"""


def _help() -> str:
    from torchmlp.cli.parsing.option_help import option_help  # noqa: PLC0415  reads sources

    return INTRODUCTION.format(program=program()) + "\n" + option_help("test")


def _test(cli: Any, arguments: dict[str, Any]) -> int:
    from torchmlp.cli.actions.evaluate import test  # noqa: PLC0415  imports Lightning

    return test(cli, arguments)


def _run(words: list[str], interruption: Interruption) -> int:
    return run_configured(["test", *words], Purpose(_test), interruption)


COMMAND = Command("test", "measure a checkpoint on the test images", _help, _run)
