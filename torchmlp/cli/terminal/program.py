"""The program's name in messages and helps: as it was started, so that they can be copied."""

import sys
from pathlib import Path

_NAMES = {"train.py": "python train.py", "__main__.py": "python -m torchmlp"}


def program() -> str:
    """How it was started: python train.py, python -m torchmlp, or torchmlp."""
    return _NAMES.get(Path(sys.argv[0]).name, "torchmlp")
