"""`%%watch` over a cell of a notebook: `%load_ext torchmlp` makes it known."""

from dataclasses import replace
from importlib import import_module
from typing import Any

from torchmlp.diagnosis.rules.causes import Finding
from torchmlp.watching.report import WatchReport
from torchmlp.watching.watcher import watch


def load(shell: Any) -> None:
    """Make `%%watch` known to IPython.

    Args:
        shell: IPython's, as `%load_ext` hands it over.
    """

    def run_cell(line: str, cell: str) -> None:
        """Run the cell, watch what it trains, and show what is wrong: %%watch [--steps N]."""
        steps = _steps(line.split())
        with watch(steps) as watched:
            shell.run_cell(cell)  # IPython shows its result, or its traceback
        print(f"\n{_by_cells(watched.report, shell)}")  # noqa: T201  as the command does

    shell.register_magic_function(run_cell, magic_kind="cell", magic_name="watch")


def _by_cells(report: WatchReport, shell: Any) -> WatchReport:
    """The report with cells named as the user knows them: "cell In[3]", no temporary file."""

    def named(finding: Finding) -> Finding:
        name = shell.compile.format_code_name(finding.file) if finding.file else None
        return replace(finding, file=f"cell {name[1]}") if name else finding

    return replace(
        report,
        findings=[named(finding) for finding in report.findings],
        perhaps=[named(finding) for finding in report.perhaps],
    )


def _steps(words: list[str]) -> int | None:
    """The number after --steps; None where nothing is said.

    Raises:
        UsageError: something else is; IPython shows it as one line.
    """
    # There where this is called, and nowhere else.
    error: type[Exception] = import_module("IPython.core.error").UsageError
    if not words:
        return None
    if words[0] != "--steps" or len(words) != 2 or not words[1].isdecimal() or not int(words[1]):  # noqa: PLR2004  option and number
        raise error(f"%%watch: expected nothing or --steps N, at least 1, got {' '.join(words)}")
    return int(words[1])
