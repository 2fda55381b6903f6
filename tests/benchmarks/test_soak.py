"""A few cycles of the soak: killed and resumed runs are the runs that were left alone."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

SOAK = ROOT / "benchmarks" / "reliability" / "soak.py"


@pytest.mark.slow
def test_a_few_cycles(tmp_path: Path) -> None:
    """Nothing differs, every exit code is the signal's, and the rows say what was done."""
    results = tmp_path / "soak.csv"
    done = subprocess.run(
        [sys.executable, str(SOAK), "--cycles", "4", "--every", "0", "--results", str(results)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"4 cycles, \d+ kills: 4 identical, 0 different, 0 with a wrong exit code, 0 hangs\n",
        done.stdout,
    )
    with results.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["identical"] for row in rows] == ["True"] * 4
    assert any(row["kills"] for row in rows)
