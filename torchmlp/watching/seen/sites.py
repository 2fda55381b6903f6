"""Where in the user's own code something was called."""

import linecache
import os
import re
import site
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

_PACKAGE = str(Path(__file__).resolve().parents[2])
_OTHERS = tuple(
    f"{folder}{os.sep}"  # torchmlp/, and not torchmlp_of_mine/
    for folder in (
        _PACKAGE,
        *{sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")},
        *site.getsitepackages(),
        site.getusersitepackages(),
    )
)
_MODULES = str(Path(torch.nn.modules.module.__file__))
_UNRECORDED = re.compile(r"no_grad|inference_mode|set_grad_enabled")
_GENERATED = ("<frozen", "<string>", "<__array_function__", "<eval_with_key>")


@dataclass(frozen=True)
class Site:
    """A line of the user's code.

    Attributes:
        file: as Python calls it: a path, or "net.ipynb, cell 3".
        line: from 1.
        function: the name of the function it is in.
    """

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        """The file's name and the line, short enough for a sentence."""
        return f"{Path(self.file).name}, line {self.line}"


@cache
def is_users(filename: str) -> bool:
    """Whether a file is neither the standard library's, nor installed, nor this package's."""
    if filename.startswith(_GENERATED):
        return False
    return not filename.startswith(_OTHERS)


@cache
def _site(filename: str, line: int, function: str) -> Site:
    return Site(filename, line, function)


def users_site(made: object = None) -> Site | None:
    """The innermost line of the user's code that is being executed; None where there is none.

    Args:
        made: an object that is being made: its own __init__ is not where that is.
    """
    frame = sys._getframe(1)  # noqa: SLF001  the only quick way to it
    while frame is not None:
        code = frame.f_code
        if is_users(code.co_filename) and not (
            made is not None
            and code.co_name == "__init__"
            and frame.f_locals.get(code.co_varnames[0]) is made
        ):
            return _site(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back  # type: ignore[assignment]  # None at the outermost
    return None


def applied_at() -> Site | None:
    """The same, but of `module.apply(function)` the line that applies and not the function's."""
    frame = sys._getframe(1)  # noqa: SLF001  as above
    found, applied = None, False
    while frame is not None:
        code = frame.f_code
        if is_users(code.co_filename):
            if found is None or applied:
                found, applied = _site(code.co_filename, frame.f_lineno, code.co_name), False
        elif code.co_name == "apply" and code.co_filename == _MODULES:
            applied = True
        frame = frame.f_back  # type: ignore[assignment]  # None at the outermost
    return found


def unrecorded_at() -> Site | None:
    """The innermost line of the user's code that switches autograd's recording off.

    Where none is found, the one that is being executed.
    """
    frame, first = sys._getframe(1), None  # noqa: SLF001  as above
    while frame is not None:
        code = frame.f_code
        if is_users(code.co_filename):
            first = first or _site(code.co_filename, frame.f_lineno, code.co_name)
            for line in range(frame.f_lineno, code.co_firstlineno - 1, -1):
                if _UNRECORDED.search(linecache.getline(code.co_filename, line)):
                    return _site(code.co_filename, line, code.co_name)
        frame = frame.f_back  # type: ignore[assignment]  # None at the outermost
    return first
