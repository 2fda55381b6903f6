"""`train.py diagnose` and `train.py report`: why does a configured run fail, or why did one?"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchmlp.cli.errors import UsageError
from torchmlp.cli.exit_codes import DONE, SICK
from torchmlp.cli.instead import Instead, OptionParser, check_steps

HELP = """\
python train.py diagnose --config X.yaml         why does this run fail? what helps?
python train.py diagnose --fix                   and write the best remedy as a configuration
python train.py diagnose --replay FILE           the step at which a fit ended in nan, once more
python train.py report lightning_logs/version_N  a run's diagnosis again, without training
python train.py report --schema                  the form of diagnosis.json, as JSON Schema

diagnose takes what fit takes (train.py fit --help), and

  --steps N         how long to train (default: 200)
  --fix             write remedy.yaml: python train.py fit --config X.yaml --config .../remedy.yaml
  --replay FILE     broken.pt of the run's folder: the batch, the weights and the random state

Each writes diagnosis.json and diagnosis.html beside the run's other files.
Exit codes: 0 healthy, 3 sick, 2 usage
"""
RECORD, PAGE, REMEDY = "diagnosis.json", "diagnosis.html", "remedy.yaml"
STEPS = 200


@dataclass(frozen=True)
class DiagnoseOptions(Instead):
    """What `diagnose` takes beside what `fit` takes."""

    steps: int = STEPS
    fix: bool = False
    replay: Path | None = None

    def run(self, cli: Any) -> int:
        """Diagnose, or replay a saved step."""
        from torchmlp.cli.running.diagnose import diagnose_configured  # noqa: PLC0415  imports torch

        return diagnose_configured(cli, self)


def split(words: Sequence[str]) -> tuple[DiagnoseOptions, list[str]]:
    """The options of `diagnose`, and the words that are `fit`'s.

    Raises:
        UsageError: an option without its value, or a replay that is not there.
    """
    parser = OptionParser("diagnose")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--fix", action="store_true")
    parser.add_argument("--replay", type=Path)
    known, rest = parser.parse_known_args(list(words))
    check_steps("diagnose", known.steps)
    if known.replay is not None:
        if not known.replay.is_file():
            raise UsageError(
                f"--replay: expected the broken.pt that a fit left, found none at {known.replay}"
            )
        config = known.replay.parent / "config.yaml"
        if not config.is_file():
            raise UsageError(
                f"--replay: expected the run's config.yaml beside it, none at {config}"
            )
        rest = ["--config", str(config), *rest]
    return DiagnoseOptions(known.steps, known.fix, known.replay), ["fit", *rest]


def report(words: Sequence[str]) -> int:
    """Judge a saved record again, print the report, and draw its page anew.

    Returns:
        0 where it is healthy, 3 where it is sick.

    Raises:
        UsageError: no run, or no record in it.
    """
    if words and words[0] in ("-h", "--help"):
        print(HELP, end="")  # noqa: T201  the program's output
        return DONE
    if list(words) == ["--schema"]:
        from torchmlp.diagnosis.report.schema import schema  # noqa: PLC0415  imports torch

        print(json.dumps(schema(), indent=2))  # noqa: T201
        return DONE
    if len(words) != 1:
        raise UsageError(
            "report: expected the folder of a run, as in: python train.py report "
            "lightning_logs/version_0"
        )
    path = Path(words[0])
    path = path / RECORD if path.is_dir() else path
    if not path.is_file():
        raise UsageError(
            f"report: expected {RECORD}, which fit and diagnose write, found none at {path}"
        )
    from torchmlp.diagnosis import Report  # noqa: PLC0415  imports torch

    try:
        found = Report.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"report: {path}: {error}") from error
    print(found)  # noqa: T201  the program's output
    write_page(found, path.parent)
    print(f"page {path.parent / PAGE}")  # noqa: T201
    return DONE if found.healthy else SICK


def write(found: Any, folder: Path) -> None:
    """Write a report's JSON and page."""
    from torchmlp._runtime.atomic_file import write_atomically  # noqa: PLC0415  imports torch

    write_atomically(folder / RECORD, found.to_json() + "\n")
    write_page(found, folder)


def write_page(found: Any, folder: Path) -> None:
    """Write a report as a page."""
    from torchmlp._runtime.atomic_file import write_atomically  # noqa: PLC0415
    from torchmlp.html_report import page  # noqa: PLC0415  matplotlib takes a second to import

    write_atomically(folder / PAGE, page(found, f"diagnosis of {folder.name}"))
