"""What a diagnosis leaves in a run's folder."""

from pathlib import Path

from torchmlp._runtime.atomic_file import write_atomically
from torchmlp.diagnosis import Report
from torchmlp.html_report import page

RECORD, PAGE, REMEDY = "diagnosis.json", "diagnosis.html", "remedy.yaml"


def write(found: Report, folder: Path) -> None:
    """Write a report's JSON and page."""
    write_atomically(folder / RECORD, found.to_json() + "\n")
    write_page(found, folder)


def write_page(found: Report, folder: Path) -> None:
    """Write a report as a page."""
    write_atomically(folder / PAGE, page(found, f"diagnosis of {folder.name}"))
