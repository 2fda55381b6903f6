"""Imports torchvision beside a CPU build of torch, where the plain import fails.

On Linux the package index's torchvision wheel is built for CUDA torch. Beside a CPU torch its C++
library does not load, torchvision carries on without it, and then attaches Python rules to
operators that only that library declares: `RuntimeError: operator torchvision::nms does not exist`.
torchmetrics, and so pytorch_lightning, import torchvision and fail with it: call
`import_torchvision` before importing them. Its datasets, transforms and utils need none of these
operators.
"""

import importlib
import re
import sys
from types import ModuleType

import torch

# Operators disappear with the Library object that declared them.
_declared: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """The torchvision module; operators that its import misses are declared, not implemented.

    An install that imports by itself is left untouched. Any other failure of the import is raised
    as it is. After the first call this costs a look into `sys.modules`.

    Raises:
        ImportError: when torchvision is not installed.
    """
    missing: list[str] = []
    while "torchvision" not in sys.modules:
        # A failed import, ours or an earlier one, leaves submodules that trip the next one.
        for name in [name for name in sys.modules if name.startswith("torchvision.")]:
            del sys.modules[name]
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            operator = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if operator is None or operator[1] in missing:
                raise
            missing.append(operator[1])
            library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(f"{operator[1]}() -> ()")  # type: ignore[no-untyped-call]
            _declared.append(library)
    return importlib.import_module("torchvision")
