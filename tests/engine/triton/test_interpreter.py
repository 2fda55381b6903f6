"""All tests of this folder under Triton's interpreter, in a process of their own."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import ROOT


@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton, and it is not installed")
@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="is what runs under the interpreter"
)
def test_under_the_interpreter() -> None:
    """Every kernel gives torch's numbers there, and no test of one is skipped. What it cannot see:
    two programs that write into one place, and whether it compiles."""
    folder = str(Path(__file__).parent.relative_to(ROOT))
    words = [sys.executable, "-m", "pytest", "-q", "-rs", folder, "-m", "gpu"]
    words += ["--override-ini", "addopts=--strict-markers", "-p", "no:cacheprovider"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ passed", done.stdout.splitlines()[-1])
    assert "skipped" not in done.stdout
