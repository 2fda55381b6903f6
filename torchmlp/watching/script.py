"""Running a user's script or notebook as Python would."""

import builtins
import linecache
import os
import sys
import types
from importlib.machinery import SourceFileLoader
from pathlib import Path

from torchmlp.foreign.source.cells import MAX_BYTES, SourceError, read_cells


class Script:
    """A script or notebook that stands ready.

    Args:
        path: a file of Python, or a notebook, as it was named; what IPython alone reads
            (%matplotlib, !pip) is left out of it.

    Raises:
        SourceError: it cannot be read, or is no text.
        SyntaxError: a script that is no Python, as Python raises it.
    """

    def __init__(self, path: str) -> None:
        self.name = path
        self.file = os.path.join(Path.cwd(), path)  # noqa: PTH118  Python keeps a ./ in it
        self.is_notebook = path.endswith(".ipynb")
        if self.is_notebook:
            self.codes = [
                compile(cell.tree, cell.filename, "exec", dont_inherit=True)
                for cell in read_cells(Path(path))
            ]
        else:
            self.codes = [_compiled(self.file)]

    def run(self, arguments: list[str]) -> None:
        """Run it as `python path arguments` would: its __main__, its sys.argv, its folder first.

        Nothing of that is put back: threads and what is registered with atexit outlive the script.
        A notebook runs in its own folder, as in Jupyter, and shows things by printing them.
        """
        main = types.ModuleType("__main__")
        main.__dict__.update(__builtins__=builtins, __annotations__={})
        folder = str(Path(os.path.realpath(self.file)).parent)
        if self.is_notebook:
            os.chdir(folder)
            main.__dict__["display"] = print
        else:
            loader = SourceFileLoader("__main__", self.file)
            main.__dict__.update(__file__=self.file, __loader__=loader, __cached__=None)
        sys.modules["__main__"] = main
        sys.argv = [self.name, *arguments]
        sys.path.insert(0, folder)
        for code in self.codes:
            exec(code, main.__dict__)  # noqa: S102  what it is for


def _compiled(file: str) -> types.CodeType:
    path = Path(file)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SourceError(f"{path} holds more than {MAX_BYTES} bytes: no source code")
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    if b"\0" in data:
        raise SourceError(f"{path} is no text")
    linecache.checkcache(file)
    return compile(data, file, "exec", dont_inherit=True)
