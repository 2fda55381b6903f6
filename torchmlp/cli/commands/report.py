"""`report`: a run's diagnosis again, without training."""

import json
from pathlib import Path

from torchmlp._runtime.interruption import Interruption
from torchmlp.cli.commands.command import Command, imports_are_done
from torchmlp.cli.terminal.errors import UsageError
from torchmlp.cli.terminal.exit_codes import DONE, SICK
from torchmlp.cli.terminal.program import program

TEXT = """\
{program} report FOLDER     a run's diagnosis again, without training
{program} report --schema   the form of diagnosis.json, as JSON Schema

FOLDER is a run's, such as lightning_logs/version_0. The record in its
diagnosis.json is judged by today's rules; prints the report, and writes
diagnosis.html beside it.
Exit codes: 0 healthy, 3 sick, 2 usage
"""
RECORD = "diagnosis.json"


def _run(words: list[str], _interruption: Interruption) -> int:
    if words == ["--schema"]:
        from torchmlp.diagnosis.report.schema import schema  # noqa: PLC0415  imports torch

        print(json.dumps(schema(), indent=2))  # noqa: T201  the program's output
        return DONE
    if len(words) != 1:
        raise UsageError(
            f"report: expected the folder of a run, as in: {program()} report "
            f"lightning_logs/version_0"
        )
    path = Path(words[0])
    path = path / RECORD if path.is_dir() else path
    if not path.is_file():
        raise UsageError(
            f"report: expected {RECORD}, which fit and diagnose write, found none at {path}"
        )
    from torchmlp.cli.actions.diagnosis_files import PAGE, write_page  # noqa: PLC0415  matplotlib
    from torchmlp.diagnosis import Report  # noqa: PLC0415  imports torch

    imports_are_done()
    try:
        found = Report.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"report: {path}: {error}") from error
    print(found)  # noqa: T201  the program's output
    write_page(found, path.parent)
    print(f"page {path.parent / PAGE}")  # noqa: T201  the program's output
    return DONE if found.healthy else SICK


COMMAND = Command("report", "a run's diagnosis again, without training", TEXT, _run)
