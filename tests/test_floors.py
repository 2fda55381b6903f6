"""Each floor imports only the floors below it, and derivatives are written by hand."""

import ast
import re
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

import torchmlp

PACKAGE = Path(torchmlp.__file__).parent

# From the bottom to the top; torchmlp/__init__.py stands over the house and shows what is public.
ORDER = (
    *("_runtime", "_compat", "kernels", "autograd", "nn", "data", "engine", "foreign", "gradcheck"),
    *(
        "lightning",
        "examples",
        "diagnosis",
        "watching",
        "stability",
        "figures",
        "html_report",
        "cli",
    ),
)
FLOORS = {f"torchmlp.{name}": number for number, name in enumerate(ORDER)}
FLOORS["torchmlp"] = len(ORDER)
# Floors side by side that know nothing of each other.
APART = {frozenset(("torchmlp.nn", "torchmlp.data"))}
# Who may import what takes long to import, or what somebody may not have.
OWNERS = {
    "pytorch_lightning": {
        "torchmlp._compat",
        "torchmlp.lightning",
        "torchmlp.examples",
        "torchmlp.diagnosis",
        "torchmlp.cli",
    },
    "lightning": set(),  # its classes are not pytorch_lightning's
    "matplotlib": {"torchmlp.figures", "torchmlp.html_report"},
}
# torch.nn.functional gives values here: an activation's, a loss's, the layer's for tensors that
# know torch's operators only. Never a derivative.
VALUES_FROM_TORCH = {
    "torchmlp.kernels.activations",
    "torchmlp.kernels.losses",
    "torchmlp.autograd.composed",
}
BY_HAND = {"torchmlp.kernels", "torchmlp.autograd", "torchmlp.nn"}


def floor_of(module: str) -> str:
    """The floor that a module of the package stands on.

    A module of the top level that is no floor's own (torchmlp.__main__) counts as the top.
    """
    name = ".".join(module.split(".")[:2])
    return name if name in FLOORS else "torchmlp"


def imports_of(source: str, module: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a module imports, wherever in it the import stands.

    `from a import b` gives a.b: b may be a module. Names handed to import_module or __import__ as
    plain strings are imports too.
    """
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).rpartition(".")[2]
            argument = node.args[0]
            if (
                called in {"import_module", "__import__"}
                and isinstance(argument, ast.Constant)
                and isinstance(argument.value, str)
            ):
                yield node.lineno, argument.value


def wrong_imports(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """The imports that lead upwards, sideways, or to what another floor owns."""
    here = floor_of(module)
    wrong = []
    for line, name in imports_of(source, module, is_package=is_package):
        top = name.partition(".")[0]
        if top == "torchmlp":
            there = floor_of(name)
            if there == here:
                continue
            if FLOORS[there] > FLOORS[here] or frozenset((here, there)) in APART:
                wrong.append(f"{module}:{line} imports {name}")
        elif top in OWNERS and here not in OWNERS[top]:
            wrong.append(f"{module}:{line} imports {name}")
    return wrong


def uses_torch_functional(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Where torch.nn.functional is imported, or reached as an attribute."""
    wrong = [
        f"{module}:{line} imports {name}"
        for line, name in imports_of(source, module, is_package=is_package)
        if f"{name}.".startswith("torch.nn.functional.")
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in {"nn.functional", "torch.nn.functional"} or name.startswith("F."):
                wrong.append(f"{module}:{node.lineno} uses {name}")
    return wrong


def derivatives_not_by_hand(source: str, module: str) -> list[str]:
    """Functions that a derivative's name belongs to and that use torch.nn.functional; any use of a
    backward operator of torch."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and re.search(
            "^backward|(?<!save_for)_backward", node.attr
        ):
            wrong.append(f"{module}:{node.lineno} uses {ast.unparse(node)}")
        if isinstance(node, ast.FunctionDef) and re.search("pull|delta|grad|backward", node.name):
            wrong += uses_torch_functional(ast.unparse(node), f"{module}.{node.name}")
    return wrong


def folder_of(module: str) -> str:
    """Where a module's file stands."""
    return module.rpartition(".")[0]


def circles(imports: dict[str, set[str]]) -> set[str]:
    """The folders from which imports lead back to them."""
    reached = {folder: set(others) for folder, others in imports.items()}
    for _ in reached:
        for others in reached.values():
            others |= {far for near in others for far in reached.get(near, ())}
    return {folder for folder, others in reached.items() if folder in others}


def modules() -> list[tuple[str, bool, str]]:
    """Name, whether it is a package, and source of every module of torchmlp."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["torchmlp", *path.relative_to(PACKAGE).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append((name, is_package, path.read_text(encoding="utf-8")))
    return found


MODULES = modules()
every_module = pytest.mark.parametrize(
    ("module", "is_package", "source"), MODULES, ids=[name for name, _, _ in MODULES]
)


@every_module
def test_imports_lead_downwards(module: str, is_package: bool, source: str) -> None:
    """Every import of the package, inside functions too, leads to this floor or a lower one."""
    assert wrong_imports(source, module, is_package=is_package) == []


def test_no_circles_between_folders() -> None:
    """Between folders of one floor too, imports lead one way. What a package shows in its own
    __init__ is not counted: it stands over its folder."""
    packages = {name for name, is_package, _ in MODULES if is_package}
    names = {name for name, _, _ in MODULES}
    found: dict[str, set[str]] = {}
    for module, is_package, source in MODULES:
        for _, name in imports_of(source, module, is_package=is_package):
            target = name if name in names else folder_of(name)
            if is_package or target in packages or target not in names:
                continue
            if (here := folder_of(module)) != (there := folder_of(target)):
                found.setdefault(here, set()).add(there)
    assert len(found) > 25
    assert circles(found) == set()


def test_circle_checker_sees() -> None:
    """One of two and one of three, and none in a chain."""
    assert circles({"a": {"b"}, "b": {"a"}, "c": {"a"}}) == {"a", "b"}
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == {"a", "b", "c"}
    assert circles({"a": {"b", "c"}, "b": {"c"}}) == set()


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    """About ten files each."""
    count: dict[str, int] = {}
    for name, is_package, _ in MODULES:
        if not is_package:
            count[folder_of(name)] = count.get(folder_of(name), 0) + 1
    assert {folder: n for folder, n in count.items() if n > 12} == {}


by_hand = pytest.mark.parametrize(
    ("module", "is_package", "source"),
    [case for case in MODULES if floor_of(case[0]) in BY_HAND],
    ids=[name for name, _, _ in MODULES if floor_of(name) in BY_HAND],
)


@by_hand
def test_functional_stays_where_values_are(module: str, is_package: bool, source: str) -> None:
    """Of the lowest floors, only the modules that say why use torch.nn.functional."""
    if module not in VALUES_FROM_TORCH:
        assert uses_torch_functional(source, module, is_package=is_package) == []


@by_hand
def test_derivatives_are_written_by_hand(module: str, is_package: bool, source: str) -> None:
    """No derivative uses torch.nn.functional or one of torch's backward operators."""
    del is_package
    assert derivatives_not_by_hand(source, module) == []


@pytest.mark.parametrize(
    "source",
    [
        "def _relu_pullback(grad, a):\n    return F.relu(a) * grad",
        "def f(grad, z):\n    return torch.ops.aten.gelu_backward(grad, z)",
        "class A:\n    def backward(ctx, grad):\n        return F.linear(grad, w)",
        "def loss(x):\n    return loss.backward()",
    ],
)
def test_derivative_checker_sees(source: str) -> None:
    """Each way to let torch differentiate is found."""
    assert derivatives_not_by_hand(source, "torchmlp.kernels.dense")


def test_every_part_of_the_package_has_a_floor() -> None:
    """What stands in torchmlp/ is on the plan, and the checks above have seen the lowest floors."""
    parts = {name for name, _, _ in MODULES if name.count(".") == 1}
    assert parts - {"torchmlp.__main__"} <= set(FLOORS)
    seen = {floor_of(name) for name, _, _ in MODULES}
    assert seen >= BY_HAND
    assert sum(name.startswith("torchmlp.kernels.") for name, _, _ in MODULES) >= 5


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("torchmlp.kernels.dense", "from torchmlp.autograd.dense import dense"),
        ("torchmlp.kernels.dense", "import torchmlp.nn"),
        ("torchmlp.kernels.dense", "from torchmlp import nn"),
        ("torchmlp.kernels.dense", "from torchmlp import MLP"),
        ("torchmlp.kernels.dense", "from ..autograd import dense"),
        ("torchmlp.kernels.dense", "from .. import autograd"),
        ("torchmlp.autograd.dense", "def f():\n    from torchmlp.nn import MLP"),
        ("torchmlp.nn.mlp", "if True:\n    import torchmlp.engine as e"),
        ("torchmlp.nn.mlp", "from torchmlp.data import digits"),
        ("torchmlp.data.split", "from torchmlp.nn import MLP"),
        (
            "torchmlp.engine",
            "import importlib\nimportlib.import_module('torchmlp.diagnosis')",
        ),
        (
            "torchmlp.engine",
            "from importlib import import_module\nimport_module('torchmlp.cli')",
        ),
        ("torchmlp.diagnosis.rules", "from torchmlp.html_report import draw"),
        ("torchmlp.examples.origin", "from torchmlp.diagnosis import diagnose"),
        ("torchmlp.kernels.init", "import pytorch_lightning as pl"),
        ("torchmlp.stability.map", "from pytorch_lightning.callbacks import Callback"),
        ("torchmlp.engine", "import lightning"),
        ("torchmlp.diagnosis.rules", "def f():\n    import matplotlib.pyplot as plt"),
        ("torchmlp.cli", "from matplotlib import pyplot"),
    ],
)
def test_checker_sees(module: str, source: str) -> None:
    """A made-up import of each forbidden kind is found, with its line."""
    (found,) = wrong_imports(source, module)
    assert found.startswith(f"{module}:{source.count(chr(10)) + 1} imports ")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("torchmlp.kernels.dense", "from torchmlp.kernels.activations import activate"),
        ("torchmlp.kernels.dense", "from .activations import activate"),
        (
            "torchmlp.nn.mlp",
            "from torchmlp.autograd import dense\nfrom torchmlp.kernels import init",
        ),
        ("torchmlp.lightning.classifier", "import pytorch_lightning, torchmlp.nn, torchmlp.data"),
        ("torchmlp.examples.origin", "from torchmlp.lightning import Classifier"),
        ("torchmlp.html_report.map", "import matplotlib.pyplot\nfrom torchmlp.stability import m"),
        ("torchmlp.cli", "from torchmlp.html_report import p\nimport pytorch_lightning"),
        ("torchmlp.kernels.dense", "import torch, math\nfrom matplotlib_free import x"),
    ],
)
def test_checker_lets_pass(module: str, source: str) -> None:
    """Imports of the same floor, of lower ones and of other packages are none of its business."""
    assert wrong_imports(source, module) == []


def test_checker_reads_packages() -> None:
    """In a package's own file one dot is the package itself."""
    assert wrong_imports("from .dense import d", "torchmlp.kernels", is_package=True) == []
    assert wrong_imports("from ..nn import d", "torchmlp.kernels", is_package=True) != []


@pytest.mark.parametrize(
    "source",
    [
        "import torch.nn.functional as F",
        "from torch.nn import functional",
        "from torch.nn.functional import relu",
        "from torch import nn\ny = nn.functional.relu(x)",
        "import torch\ndef f(x):\n    return torch.nn.functional.relu(x)",
        "y = F.relu(x)",
    ],
)
def test_functional_checker_sees(source: str) -> None:
    """Each way to reach torch.nn.functional is found."""
    assert uses_torch_functional(source, "torchmlp.kernels.dense")


def test_functional_checker_lets_pass() -> None:
    """torch, nn and the package's own names are fine."""
    source = "import torch\nfrom torch import nn\nnn.init.zeros_(w)\ntorch.relu(z)\nself.F.x"
    assert uses_torch_functional(source, "torchmlp.kernels.dense") == []
