"""Cases that run in a process of their own, one after the other, and how tests ask about them.

In a process of its own: what checks the annotations in a test run is nothing that Dynamo can trace
and refuses arguments that are no tensors but act like some.
"""

import json
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from tests import ROOT

Case = Callable[[], None]


def attempt(case: Case) -> str | None:
    """Run a case; the traceback of what went wrong, or None."""
    torch.manual_seed(0)
    try:
        case()
    except Exception:  # noqa: BLE001  each case answers for itself
        return traceback.format_exc()[-3000:]
    return None


Table = list[tuple[Callable[..., None], list[tuple[Any, ...]]]]


def named(table: Table) -> dict[str, Case]:
    """A case for each function and each of the arguments that the table calls it with."""
    return {
        " ".join([function.__name__, *map(str, arguments)]): partial(function, *arguments)
        for function, calls in table
        for arguments in calls
    }


def main(cases: Mapping[str, Case]) -> None:
    """Run every case, or those whose names hold the program's argument; a JSON line for each."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, case in cases.items():
        if chosen in name:
            report(name, attempt(case))


def report(name: str, error: str | None) -> None:
    """Say how a case went, to the process that asked."""
    print(json.dumps({"case": name, "error": error}), flush=True)  # noqa: T201


def outcomes(module: str) -> dict[str, str | None]:
    """Run a module of cases as a program: of each case what went wrong, or None."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.conformance.{module}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found = {line["case"]: line["error"] for line in lines}
    found["the program itself"] = None if done.returncode == 0 else done.stderr[-3000:]
    return found
