"""`fit`: train, and test the best checkpoint."""

from typing import Any

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.commands.command import Command, run_configured
from torchmlp.cli.running.purpose import Purpose

TEXT = """\
{program} [fit] [options]

Trains on MNIST, or on the digits that ship where MNIST is not to be had, tests
the best checkpoint, and writes lightning_logs/version_N: config.yaml,
metrics.csv, summary.json, diagnosis.json, checkpoints.

  --config NAME|FILE   a recipe that ships (mnist, fashion, embedded, ...) or a
                       YAML file of yours
  --accelerator gpu    cpu, gpu or auto (default: a GPU where there is one)
  --max_epochs N       how long to train (default: 20)
  --lr RATE            learning rate (default: 0.1)
  --batch_size N       images in a minibatch (default: 64)
  --hidden N [N ...]   width of each hidden layer (default: 512)
  --activation NAME    relu, tanh, sigmoid, gelu, silu, ... (default: relu)
  --data_root FOLDER   where the data set's files are (default: data)
  --ckpt_path FILE     go on from a checkpoint; or last
  --seed N             (default: 0)
"""


def _train(cli: Any, arguments: dict[str, Any]) -> int:
    from torchmlp.cli.actions.fit import fit  # noqa: PLC0415  imports Lightning

    return fit(cli, arguments)


def _run(words: list[str], interruption: Interruption) -> int:
    return run_configured(["fit", *words], Purpose(_train, trains=True), interruption)


COMMAND = Command(
    "fit", "train (the default command), test the best checkpoint", TEXT, _run, lists_options=True
)
