"""The compiled step: built on demand, kept in the user's cache.

step.cpp reads none of torch's headers and calls the BLAS that torch's library exports, so that a
compiler needs two seconds and nothing else. Where there is no compiler, or no such BLAS, steps are
taken in torch's operators.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("step.cpp")
DTYPES = {torch.float32: "float32", torch.float64: "float64"}  # as the functions' names end
PATIENCE_S = 120  # thirty times what a compiler takes
# What tells one kind of processor from another, for the library is compiled for this one.
_PROCESSOR = ("flags", "Features", "CPU implementer", "CPU part")


class NoNativeStepError(RuntimeError):
    """The step cannot be compiled or loaded here; says why."""


def load() -> ctypes.CDLL:
    """The compiled step, built if this machine has not got it yet; a failure is not tried again.

    Kept in $XDG_CACHE_HOME/torchmlp (default ~/.cache/torchmlp), one file for each source, torch
    and processor, which only its owner may write. `TORCHMLP_NATIVE=0` in the environment forbids
    it.

    Raises:
        NoNativeStepError: another system than Linux, no compiler ($CXX, or c++), no BLAS in torch's
            library, no place to write.
    """
    if os.environ.get("TORCHMLP_NATIVE") == "0":
        raise NoNativeStepError("TORCHMLP_NATIVE=0 forbids it")
    found = _load()
    if isinstance(found, str):
        raise NoNativeStepError(found)
    return found


@cache
def _load() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    if sys.platform != "linux":
        return f"there is no build for {sys.platform}"
    try:
        path = _place()
        try:
            library = _open(path)
        except OSError:  # not there, or damaged
            if complaint := _build(path):
                return complaint
            library = _open(path)
    except (OSError, RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    for dtype in DTYPES.values():
        for name, row in (("step", ctypes.c_int), ("population", ctypes.c_int64)):
            function = getattr(library, f"{name}_{dtype}")
            function.argtypes, function.restype = [ctypes.c_void_p], row
    return library


def _open(path: Path) -> ctypes.CDLL:
    # It is run: nobody else may have put it there.
    for place in (path, path.parent):
        status = place.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"{place} can be written by others than its owner")
    return ctypes.CDLL(str(path))


def _build(path: Path) -> str:
    """Compile the library to its place; the compiler's complaint where it has one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    libraries = Path(torch.__file__).parent / "lib"
    common = [*shlex.split(os.environ.get("CXX", "c++")), "-std=c++17", "-O3", "-march=native"]
    common += ["-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC", str(SOURCE)]
    common += [f"-L{libraries}", "-ltorch_cpu", "-Wl,--no-undefined"]
    said = ""
    # Processes that build at once each rename a whole file.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / "step.so"
        # Without glibc's vector functions the compiler's own loops do.
        for extra in (["-DHAS_VECTOR_MATH"], []):
            run = subprocess.run(  # noqa: S603  the user's own compiler
                [*common, *extra, "-lm", "-o", str(part)],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=PATIENCE_S,
                env={**os.environ, "LC_ALL": "C"},
            )
            if run.returncode == 0:
                part.chmod(0o700)
                part.replace(path)
                return ""
            said = run.stderr
    lines = said.strip().splitlines() or ["failed"]
    telling = [line for line in lines if "error" in line or "undefined" in line]
    return f"{common[0]}: {(telling or lines)[0]}"


def _place() -> Path:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    parts = [SOURCE.read_text(encoding="utf-8"), torch.__version__, torch.__file__]
    parts += sorted({line for line in lines if line.startswith(_PROCESSOR)})
    parts += [platform.machine(), os.environ.get("CXX", "c++")]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "torchmlp" / f"step-{name}.so"
