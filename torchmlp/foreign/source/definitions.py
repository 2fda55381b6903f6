"""What a file defines: its imports, functions, classes and constants, and nothing that it does."""

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torchmlp.foreign.source.cells import Cell, SourceError, read_cells
from torchmlp.foreign.source.imports import Later, waits

# Calls in an assignment that make a constant and are over at once; whatever they are methods of.
_QUICK_ROOTS = {"np", "numpy", "math", "random", "torch", "cp", "jnp"}
_QUICK_NAMES = {
    *("range", "len", "int", "float", "str", "bool", "list", "tuple", "dict", "set", "zip", "max"),
    *("min", "abs", "sum", "round", "enumerate", "reversed", "sorted", "frozenset", "namedtuple"),
    *("default_rng", "RandomState", "vectorize", "array", "zeros", "ones", "eye", "partial"),
    *("defaultdict", "OrderedDict", "deque", "Random", "device", "TypeVar"),
}
_READS = {"load", "loadtxt", "genfromtxt", "fromfile", "memmap", "open", "read_csv", "hub", "save"}


def load_definitions(path: Path, name: str = "__main__") -> types.ModuleType:
    """The module that a file makes when its imports, definitions and constants are run.

    Loops, bare calls and assignments that call the file's own functions are passed over: they
    train, plot, or read data. `module.__skipped__` maps the names that were so left unset to
    their lines.

    Raises:
        SourceError: the file cannot be read.
    """
    cells = read_cells(path)
    module = types.ModuleType(name)
    module.__file__ = str(path)
    module.__dict__["__skipped__"] = {}
    folder = str(path.resolve().parent)
    if not any(isinstance(f, _Siblings) and f.folder == Path(folder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Siblings(Path(folder)))
    sys.modules[name] = module  # dataclasses and pickles look there
    for cell in cells:
        _run(cell, cell.tree.body, module)
    return module


def _run(cell: Cell, statements: Sequence[ast.stmt], module: types.ModuleType) -> None:
    for statement in statements:
        if isinstance(statement, ast.If):
            _choose(cell, statement, module)
        elif isinstance(statement, ast.Try):
            before = set(module.__dict__)
            _run(cell, statement.body, module)
            if set(module.__dict__) == before:
                for handler in statement.handlers:
                    _run(cell, handler.body, module)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            _import(statement, module)
        elif _changes_path(statement):
            _follow_path(cell, statement, module)
        elif not _defines(statement) or not _executed(cell, statement, module):
            for target in _targets(statement):
                module.__dict__["__skipped__"].setdefault(target, statement.lineno)


def _choose(cell: Cell, statement: ast.If, module: types.ModuleType) -> None:
    """Run what a condition that is a constant chooses: of a device, of a version."""
    names = {n.id for n in ast.walk(statement.test) if isinstance(n, ast.Name)}
    if "__name__" in names or not _is_quick(statement.test):
        return
    code = compile(ast.Expression(statement.test), cell.filename, "eval")
    try:
        chosen = bool(eval(code, module.__dict__))  # noqa: S307  it is the file's own
    except Exception:  # noqa: BLE001  whatever somebody's code raises
        return
    _run(cell, statement.body if chosen else statement.orelse, module)


def _executed(cell: Cell, statement: ast.stmt, module: types.ModuleType) -> bool:
    """Whether a statement ran through."""
    try:
        code = compile(ast.Module([statement], []), cell.filename, "exec")
        exec(code, module.__dict__)  # noqa: S102  that is what the file is handed over for
    except Exception:  # noqa: BLE001  whatever somebody's code raises
        return False
    return True


def _changes_path(statement: ast.stmt) -> bool:
    """Whether a statement is sys.path.append(...) or the like."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and (_dotted(call.func) or [])[:2] == ["sys", "path"]


def _follow_path(cell: Cell, statement: ast.stmt, module: types.ModuleType) -> None:
    before = list(sys.path)
    if _executed(cell, statement, module):
        for folder in set(sys.path) - set(before):
            sys.meta_path.insert(0, _Siblings(Path(folder)))


def _import(statement: ast.Import | ast.ImportFrom, module: types.ModuleType) -> None:
    space = module.__dict__
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            top = alias.name.split(".")[0]
            if alias.asname is None:
                space[top] = _imported(top)
                if not waits(top) and top != alias.name:
                    _imported(alias.name)
            else:
                space[alias.asname] = _imported(alias.name)
        return
    source = statement.module or ""
    if source == "__future__":
        return
    for alias in statement.names:
        if alias.name == "*":
            found = _imported(source)
            if not isinstance(found, Later):
                public = getattr(found, "__all__", None) or [n for n in vars(found) if n[:1] != "_"]
                space.update({name: getattr(found, name) for name in public})
            continue
        space[alias.asname or alias.name] = _imported(
            source or alias.name, alias.name if source else None
        )


def _imported(module: str, name: str | None = None) -> Any:
    if waits(module) and not _is_sibling(module):
        return Later(module, name)
    try:
        return Later(module, name)._found()  # noqa: SLF001  its own module's
    except ImportError:
        return Later(module, name)


def _is_sibling(module: str) -> bool:
    return any(isinstance(f, _Siblings) and f.path(module) for f in sys.meta_path)


def _defines(statement: ast.stmt) -> bool:
    """Whether a statement only gives names their meaning."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Pass)):
        return True
    if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return statement.value is None or _is_quick(statement.value)
    return False


def _is_quick(expression: ast.expr) -> bool:
    """Whether an expression is a constant in all but name: it calls nothing that takes its time."""
    inside_lambdas: set[ast.AST] = set()
    for node in ast.walk(expression):
        if isinstance(node, ast.Lambda):
            inside_lambdas |= set(ast.walk(node.body))
    for node in ast.walk(expression):
        if node in inside_lambdas or not isinstance(node, ast.Call):
            continue
        names = _dotted(node.func)
        if names is None or set(names) & _READS:
            return False
        if names[0] not in _QUICK_ROOTS | _QUICK_NAMES and names[-1] not in {
            "reshape",
            "astype",
            "T",
        }:
            return False
    return True


def _dotted(function: ast.expr) -> list[str] | None:
    names: list[str] = []
    while isinstance(function, (ast.Attribute, ast.Call, ast.Subscript)):
        if isinstance(function, ast.Attribute):
            names.insert(0, function.attr)
            function = function.value
        else:
            function = function.func if isinstance(function, ast.Call) else function.value
    return [function.id, *names] if isinstance(function, ast.Name) else None


def _targets(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


class _Siblings(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of the file's own folder, and loads them by their definitions too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, module: str) -> Path | None:
        """The file of a module, or of a package's __init__; None where there is none."""
        base = self.folder.joinpath(*module.split("."))
        for path in (base.with_name(base.name + ".py"), base / "__init__.py"):
            if path.is_file():
                return path
        return None

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """As the import system asks for it."""
        del path, target
        file = self.path(fullname)
        top = fullname.split(".", maxsplit=1)[0]
        if file is None or top in sys.stdlib_module_names or top in {"numpy", "torch", "torchmlp"}:
            return None
        return importlib.util.spec_from_loader(
            fullname, self, origin=str(file), is_package=file.name == "__init__.py"
        )

    def exec_module(self, module: types.ModuleType) -> None:
        """The definitions in its file."""
        file = self.path(module.__name__)
        assert file is not None
        try:
            cells = read_cells(file)
        except SourceError as error:
            raise ImportError(str(error)) from None
        module.__dict__["__skipped__"] = {}
        for cell in cells:
            _run(cell, cell.tree.body, module)
