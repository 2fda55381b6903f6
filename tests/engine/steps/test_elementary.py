"""exp, expm1, log1p, tanh and erf of the step in C++, against float64."""

import ctypes
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.engine.twins import needs_compiler
from torchmlp.engine.steps import build

if TYPE_CHECKING:
    from pathlib import Path

ULPS = 2.0
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], tuple[float, float]]] = {
    "exp": (np.exp, (-87.0, 88.7)),
    "expm1": (np.expm1, (-40.0, 80.0)),
    "log1p": (np.log1p, (0.0, 1.0)),
    "tanh": (np.tanh, (-12.0, 12.0)),
    "erf": (lambda x: torch.special.erf(torch.from_numpy(x)).numpy(), (-6.0, 6.0)),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """A loop over each, compiled as the step is."""
    folder: Path = tmp_path_factory.mktemp("elementary")
    loops = "".join(
        f"void loop_{name}(const float* x, float* y, int n) "
        f"{{ for (int i = 0; i < n; ++i) y[i] = {name}_(x[i]); }}\n"
        for name in FUNCTIONS
    )
    source, library = folder / "loops.cpp", folder / "loops.so"
    source.write_text(f'#include "elementary.h"\nextern "C" {{\n{loops}}}\n', encoding="utf-8")
    command = [*build._compiler(), *build.FLAGS, "-fPIC", "-shared", f"-I{build.SOURCES}"]
    subprocess.run([*command, str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def call(compiled: ctypes.CDLL, name: str, x: Any) -> Any:
    y = np.empty_like(x)
    function = getattr(compiled, f"loop_{name}")
    function(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), len(x))
    return y


@needs_compiler
@pytest.mark.parametrize("name", FUNCTIONS)
def test_two_units_in_the_last_place(name: str, compiled: ctypes.CDLL) -> None:
    """A million arguments through the whole range, and as many near 0 of every magnitude."""
    function, (low, high) = FUNCTIONS[name]
    generator = np.random.default_rng(0)
    near = 10.0 ** generator.uniform(-30, 0, 1_000_000)
    if low < 0:
        near *= generator.choice([-1, 1], len(near))
    x = np.concatenate([np.linspace(low, high, 1_000_000), near[near <= high]]).astype(np.float32)
    exact = function(x.astype(np.float64))
    found = call(compiled, name, x).astype(np.float64)
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    error = np.abs(found - exact) / unit
    worst = int(error.argmax())
    assert error[worst] <= ULPS, f"{name}({x[worst]}): {error[worst]:.2f} units off"


@needs_compiler
def test_at_the_ends(compiled: ctypes.CDLL) -> None:
    """Infinity, nan, overflow and underflow are the C library's."""
    ends = np.array([np.inf, -np.inf, np.nan, 89.0, 1e30, -1e30, 0.0], dtype=np.float32)
    with np.errstate(over="ignore"):
        for name in ("exp", "expm1", "tanh"):
            expected = FUNCTIONS[name][0](ends)
            np.testing.assert_allclose(call(compiled, name, ends), expected, atol=1e-38)
    assert call(compiled, "erf", ends)[:2].tolist() == [1, -1]
    assert np.isnan(call(compiled, "erf", ends)[2])
