"""The process that other people's code runs in; `torchmlp.foreign.process` starts it."""

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchmlp.foreign.attempts import place
from torchmlp.foreign.probe import probe
from torchmlp.foreign.records import save
from torchmlp.foreign.source.cells import SourceError
from torchmlp.foreign.source.definitions import load_definitions

MEMORY = 4 << 30  # bytes of data: torch takes one of them
FILES = 1 << 26  # bytes of a file


def main(words: Sequence[str]) -> int:
    """Read, call and record; see `torchmlp.foreign.process`, which starts this."""
    file, name, out, seconds, hidden = words
    _limit(float(seconds))
    answer: dict[str, Any] = {"error": "", "where": "", "probes": [], "attempts": []}
    path = Path(file)

    def fresh() -> dict[str, Any]:
        return vars(load_definitions(path, "submission"))

    try:
        widths = [int(w) for w in hidden.split(",") if w] if hidden != "-" else None
        skipped = fresh()["__skipped__"]
        probes, attempts = probe(
            fresh, name or None, hidden=widths, seconds=float(seconds) * 0.8, files=_files(path)
        )
        answer |= {
            "probes": probes,
            "attempts": attempts,
            "skipped": skipped,
            "names": _names(fresh()),
        }
    except SourceError as error:
        answer["error"] = str(error)
    except Exception as error:  # noqa: BLE001  whatever somebody's code raises
        answer["error"] = f"{type(error).__name__}: {error}"
        answer["where"] = (
            place(error, _files(path)) or traceback.format_exc().splitlines()[-2].strip()
        )
    save(Path(out), answer)
    return 0


def _names(namespace: dict[str, Any]) -> list[str]:
    """The functions and classes that the file defines."""
    return [
        name
        for name, value in namespace.items()
        if callable(value) and getattr(value, "__module__", "") == namespace["__name__"]
    ]


def _files(path: Path) -> list[str]:
    cells = [f"{path}, cell {k}" for k in range(1, 1000)] if path.suffix == ".ipynb" else []
    return [str(path), *cells, *(str(p) for p in path.resolve().parent.glob("*.py"))]


def _limit(seconds: float) -> None:
    """Bounds on what the code may use up, where the system has them."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  not on every system

        for kind, most in (
            (resource.RLIMIT_DATA, MEMORY),
            (resource.RLIMIT_FSIZE, FILES),
            (resource.RLIMIT_CPU, int(4 * seconds) + 4),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # whatever threads were started
