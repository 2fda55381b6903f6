"""The kernels compile, for a GPU that need not be there."""

from pathlib import Path
from typing import Any

import pytest

from torchmlp.kernels.activations import ACTIVATIONS

pytest.importorskip("triton", reason="needs triton, and it is not installed")

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION is unset")
HOPPER = ("cuda", 90, 32)


def machine_code(
    name: str, pointers: str, constants: dict[str, Any], whole: tuple[str, ...] = ()
) -> bytes:
    """Of a kernel whose names ending in _at are pointers of a type, `whole` integers, and the
    others float32."""
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415  needs triton
    from triton.compiler import ASTSource  # noqa: PLC0415  needs triton
    from triton.compiler import compile as compiled  # noqa: PLC0415  needs triton

    from torchmlp.engine.triton import kernels  # noqa: PLC0415  needs triton

    kernel = getattr(kernels, name)
    signature = {
        argument: "constexpr"
        if argument in constants
        else pointers
        if argument.endswith("_at")
        else "i32"
        if argument in whole
        else "fp32"
        for argument in kernel.arg_names
    }
    places = {(kernel.arg_names.index(key),): value for key, value in constants.items()}
    found = compiled(ASTSource(kernel, signature, places), target=GPUTarget(*HOPPER))
    code: bytes = found.asm["cubin"]
    return code


@pytest.fixture(autouse=True)
def _compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton import knobs  # noqa: PLC0415  needs triton

    if knobs.runtime.interpret:
        pytest.skip("under the interpreter nothing is compiled")
    if not (Path(knobs.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas").exists():
        pytest.skip("needs NVIDIA's assembler, and this triton has none")


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_compiles(activation: str) -> None:
    """Its value and its slope, in each dtype's pointers for one of them."""
    dtypes = ["*fp32", "*bf16", "*fp16"] if activation == "gelu" else ["*fp32"]
    for dtype in dtypes:
        shared = {"PHI": activation, "HAS_MASK": True, "BLOCK": 1024}
        value = {**shared, "HAS_BIAS": True, "KEEPS_Z": True}
        assert machine_code("bias_activation", dtype, value, ("count", "width"))
        assert machine_code("delta_slope", dtype, shared, ("count",))


@pytest.mark.parametrize("name", ["SGD", "momentum", "Nesterov", "Adam"])
def test_every_update_compiles(name: str) -> None:
    """Through addresses that it reads from a table."""
    if name == "Adam":
        assert machine_code("adam", "*i64", {"BLOCK": 1024})
        return
    settings = {"HAS_VELOCITY": name != "SGD", "NESTEROV": name == "Nesterov", "BLOCK": 1024}
    assert machine_code("sgd", "*i64", settings)
