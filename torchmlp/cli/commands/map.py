"""`train.py map`: which layer sizes, minibatch sizes and learning rates train?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torchmlp.cli.errors import UsageError
from torchmlp.cli.instead import Instead, OptionParser, check_steps

HELP = """\
python train.py map --config X.yaml              which sizes, batches and learning rates train?
python train.py map --find_lr                    only the largest stable rate of the run itself

map trains every combination briefly, from its own start, and says of each: nan (at which step),
diverged, stuck, slow or learns, and why. It takes what fit takes (train.py fit --help), and

  --widths N ...         of the hidden layers (default: 32 128 512 1000 2048)
  --batch_sizes N ...    (default: 8 64 512)
  --lrs RATE ...         rates, or ranges as 0.01:10:7log, 0.1:1:10lin (default: 0.01:10:7log)
  --depths N ...         numbers of hidden layers (default: the configured one)
  --inits NAME ...       initial weights (default: the configured ones)
  --seeds N ...          (default: the configured one)
  --steps N              of each combination (default: 200)
  --output FOLDER        (default: lightning_logs/map); the same command goes on where it was cut
  --engine pool|ray      processes on this machine, or a Ray cluster (pip install "torchmlp[ray]")
  --workers N            processes, of one core each (default: the machine's cores)
  --memory GB            at most (default: half of what is free)

Dropout, shifts of the images and the schedule of the rate are left out. Writes cells.jsonl, a line
for each combination as it ends, and for each batch size a heat map as PNG and SVG.
Exit codes: 0 done, 2 usage, 130 Ctrl-C, 143 SIGTERM (what is done is kept)
"""
ENGINES = ("pool", "ray")


@dataclass(frozen=True)
class MapOptions(Instead):
    """What `map` takes beside what `fit` takes; None and () leave it to the default."""

    has_run_folder: ClassVar[bool] = False
    widths: tuple[int, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    lrs: tuple[str, ...] = ()
    depths: tuple[int, ...] = ()
    inits: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    steps: int = 200
    output: Path | None = None
    engine: str = "pool"
    workers: int | None = None
    memory: float | None = None
    find_lr: bool = False

    def run(self, cli: Any) -> int:
        """Draw the map, or find the rate."""
        from torchmlp.cli.running.map import draw_map, find_rate  # noqa: PLC0415  imports torch

        return find_rate(cli, self) if self.find_lr else draw_map(cli, self)


def split(words: Sequence[str]) -> tuple[MapOptions, list[str]]:
    """The options of `map`, and the words that are `fit`'s.

    Raises:
        UsageError: an option without its value, or one that is out of range.
    """
    parser = OptionParser("map")
    for name in ("widths", "batch_sizes", "depths", "seeds"):
        parser.add_argument(f"--{name}", type=int, nargs="+")
    for name in ("lrs", "inits"):
        parser.add_argument(f"--{name}", nargs="+")
    for name in ("steps", "workers"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--memory", type=float, metavar="GB")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--find_lr", action="store_true")
    known, rest = parser.parse_known_args(list(words))
    given = {name: value for name, value in vars(known).items() if value is not None}
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    options = MapOptions(**given | lists)
    check_steps("map", options.steps)
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"map: expected --workers of at least 1, got {options.workers}")
    if options.memory is not None and not options.memory > 0:
        raise UsageError(f"map: expected --memory in GB above 0, got {options.memory:g}")
    return options, ["fit", *rest]
