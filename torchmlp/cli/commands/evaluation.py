"""What validate, test and predict have in common: they take a checkpoint and train nothing."""

from typing import Any

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.commands.command import Command, run_configured
from torchmlp.cli.running.purpose import Purpose

TEXT = """\
{program} COMMAND --ckpt_path FILE.ckpt|best|last [options]

INTRODUCTION

  --ckpt_path FILE     the checkpoint; best or last: that of the newest run
  --data_root FOLDER   where the data set's files are (default: data)
  --accelerator gpu    cpu, gpu or auto (default: a GPU where there is one)
  --batch_size N       images in a minibatch (default: 64)

The network's settings and the data set are those of the checkpoint.
"""


def evaluation(name: str, summary: str, introduction: str) -> Command:
    """The command whose action is the function `name` of `torchmlp.cli.actions.evaluate`."""

    def act(cli: Any, arguments: dict[str, Any]) -> int:
        from torchmlp.cli.actions import evaluate  # noqa: PLC0415  imports Lightning

        code: int = getattr(evaluate, name)(cli, arguments)
        return code

    def run(words: list[str], interruption: Interruption) -> int:
        return run_configured([name, *words], Purpose(act), interruption)

    text = TEXT.replace("COMMAND", name).replace("INTRODUCTION", introduction)
    return Command(name, summary, text, run, lists_options=True)
