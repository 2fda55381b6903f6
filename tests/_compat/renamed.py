"""A library's next release, in which private names are called otherwise.

python -m tests._compat.renamed LIBRARY,... NAME,... PROGRAM: in every source file of the libraries
each NAME is NAME_renamed; then PROGRAM runs.
"""

import importlib.machinery
import re
import sys
from types import CodeType


def rename(libraries: list[str], names: list[str]) -> None:
    """Compile the libraries' modules from sources in which the names are others."""
    word = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, names))})(?!\w)")
    plain = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: importlib.machinery.SourceFileLoader, fullname: str) -> CodeType | None:
        if fullname.partition(".")[0] not in libraries:
            return plain(self, fullname)
        source = self.get_data(self.get_filename(fullname)).decode()
        return compile(word.sub(r"\1_renamed", source), fullname, "exec", dont_inherit=True)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    rename(sys.argv[1].split(","), sys.argv[2].split(","))
    exec(compile(sys.argv[3], "program", "exec"), {"__name__": "__main__"})
