"""`map`: which layer sizes, minibatch sizes and learning rates train?"""

from functools import partial
from pathlib import Path
from typing import Any

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.commands.command import Command, run_configured
from torchmlp.cli.parsing.option_parser import OptionParser, check_steps
from torchmlp.cli.running.purpose import Purpose
from torchmlp.cli.terminal.errors import UsageError

STEPS = 200
TEXT = """\
{program} map --config X.yaml   which combinations train?
{program} map --find_lr         only the largest stable rate

map trains every combination of sizes, batches and learning rates briefly, from
its own start, and says of each: nan (at which step), diverged, stuck, slow or
learns, and why. It takes what fit takes ({program} fit --help), and

  --widths N ...        of the hidden layers (default: 32 128 512 1000 2048)
  --batch_sizes N ...   (default: 8 64 512)
  --lrs LR ...          learning rates, or ranges as 0.01:10:7log, 0.1:1:10lin
                        (default: 0.01:10:7log)
  --depths N ...        numbers of hidden layers (default: the configured one)
  --inits NAME ...      initial weights (default: the configured ones)
  --seeds N ...         (default: the configured one)
  --steps N             of each combination (default: 200)
  --output FOLDER       (default: lightning_logs/map); the same command goes on
                        where it was cut
  --engine pool|ray     processes on this machine, or a Ray cluster
                        (pip install "torchmlp[ray]")
  --workers N           processes, of one core each (default: all cores)
  --memory GB           at most (default: half of what is free)

Dropout, shifts of the images and the schedule of the learning rate are left
out. Writes cells.jsonl, a line for each combination as it ends, and for each
batch size a heat map as PNG and SVG; settings.json beside them.
Exit codes: 0 done, 1 failed, 2 usage, 3 no stable rate (--find_lr),
130 Ctrl-C, 143 SIGTERM (what is done is kept)
"""
ENGINES = ("pool", "ray")
LISTS = {"widths": int, "batch_sizes": int, "lrs": str, "depths": int, "inits": str, "seeds": int}


def _draw(cli: Any, _arguments: dict[str, Any], *, find_lr: bool, **options: Any) -> int:
    from torchmlp.cli.actions import map as running  # noqa: PLC0415  imports torch

    if find_lr:
        return running.find_lr(cli, options["steps"], options["output"])
    return running.draw_map(cli, **options)


def _run(words: list[str], interruption: Interruption) -> int:
    parser = OptionParser("map")
    for name, kind in LISTS.items():
        parser.add_argument(f"--{name}", type=kind, nargs="+", default=())
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--memory", type=float, metavar="GB")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0])
    parser.add_argument("--find_lr", action="store_true")
    known, rest = parser.parse_words(words)
    check_steps("map", known.steps)
    if known.workers is not None and known.workers < 1:
        raise UsageError(f"map: expected --workers of at least 1, got {known.workers}")
    if known.memory is not None and not known.memory > 0:
        raise UsageError(f"map: expected --memory in GB above 0, got {known.memory:g}")
    purpose = Purpose(partial(_draw, **vars(known)), has_run_folder=False)
    return run_configured(["fit", *rest], purpose, interruption)


COMMAND = Command("map", "which sizes, batches and learning rates train?", TEXT, _run)
