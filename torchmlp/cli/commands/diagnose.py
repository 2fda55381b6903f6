"""`diagnose`: why does a configured run fail, and what helps?"""

from functools import partial
from pathlib import Path
from typing import Any

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.commands.command import Command, run_configured
from torchmlp.cli.parsing.option_parser import OptionParser, check_steps
from torchmlp.cli.running.purpose import Purpose
from torchmlp.cli.terminal.errors import UsageError

STEPS = 200
BUDGET = 10.0  # seconds
TEXT = """\
{program} diagnose --config X.yaml   why does this run fail?
{program} diagnose --fix             and write the best remedy
{program} diagnose --replay FILE     the step that ended a fit, again

diagnose takes what fit takes ({program} fit --help), and

  --steps N       how long to train (default: 200)
  --budget SECONDS
                  how long the verdict may take (default: 10); what is known by
                  then is told
  --fix           write remedy.yaml, a configuration to add to the run's own:
                  fit --config X.yaml --config .../remedy.yaml
  --replay FILE   broken.pt of a run's folder: the batch, the weights and the
                  random state

Writes diagnosis.json and diagnosis.html into lightning_logs/version_N;
{program} report FOLDER judges and draws them again.
Exit codes: 0 healthy, 3 sick, 2 usage
"""


def _diagnose(
    cli: Any,
    _arguments: dict[str, Any],
    *,
    steps: int,
    budget: float,
    fix: bool,
    replay: Path | None,
) -> int:
    from torchmlp.cli.actions.diagnose import diagnose  # noqa: PLC0415  imports torch

    return diagnose(cli, steps, budget=budget, fix=fix, replay=replay)


def _run(words: list[str], interruption: Interruption) -> int:
    parser = OptionParser("diagnose")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--budget", type=float, default=BUDGET)
    parser.add_argument("--fix", action="store_true")
    parser.add_argument("--replay", type=Path)
    known, rest = parser.parse_words(words)
    check_steps("diagnose", known.steps)
    if not known.budget > 0:
        raise UsageError(f"--budget: expected seconds above 0, got {known.budget:g}")
    if known.replay is not None:
        rest = ["--config", str(_configuration_of(known.replay)), *rest]
    return run_configured(["fit", *rest], Purpose(partial(_diagnose, **vars(known))), interruption)


def _configuration_of(replay: Path) -> Path:
    if not replay.is_file():
        raise UsageError(
            f"--replay: expected the broken.pt that a fit left, found none at {replay}"
        )
    config = replay.parent / "config.yaml"
    if not config.is_file():
        raise UsageError(f"--replay: expected the run's config.yaml beside it, none at {config}")
    return config


COMMAND = Command("diagnose", "why does a run fail, and what helps?", TEXT, _run)
