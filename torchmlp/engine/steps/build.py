"""The compiled step: built on demand, kept in the user's cache.

Its sources (cpp/) read none of torch's headers and call the BLAS that torch's library exports, so
that a compiler needs three seconds and nothing else. Where there is no compiler, or no such BLAS,
steps are taken in torch's operators.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from torchmlp._runtime.atomic_file import sweep, temporary_folder

SOURCES = Path(__file__).with_name("cpp")
# -O3 would make the compiler slower, and the loops no faster.
FLAGS = (
    *("-std=c++17", "-march=native", "-fno-math-errno", "-fno-trapping-math"),
    *("-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic", "-fno-tree-slp-vectorize"),
)
_REALS = {torch.float32: "float", torch.float64: "double"}  # C++'s
DTYPES = {torch.float32: "float32", torch.float64: "float64"}  # as the functions' names end
COMPILE_TIMEOUT_S = 120  # thirty times what a compiler takes
SLOW_S = 2.0  # before a word is said of it
# What tells one kind of processor from another, for the library is compiled for this one.
_PROCESSOR = ("flags", "Features", "CPU implementer", "CPU part")


class NoNativeStepError(RuntimeError):
    """The step cannot be compiled or loaded here; says why."""


class _CompilerError(Exception):
    """What the compiler complains of."""


def load() -> ctypes.CDLL:
    """The compiled step, built if this machine has not got it yet; a failure is not tried again.

    Kept in $XDG_CACHE_HOME/torchmlp (default ~/.cache/torchmlp), one file for each source, torch
    and processor, which only its owner may write. The hash of its content is part of its name: one
    that a full disk or a crash has cut short, or that anything has changed, is removed unopened and
    built anew. `TORCHMLP_NATIVE=0` in the environment forbids it.

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
        path = _built(_place())
        library = ctypes.CDLL(str(path))
    except _CompilerError as error:
        return str(error)
    except (OSError, RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    for dtype in DTYPES.values():
        for name in ("step", "epoch", "population"):
            function = getattr(library, f"{name}_{dtype}")
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_int64
    return library


def _built(place: Path) -> Path:
    """The library that is kept at a place, or is built there now.

    Raises:
        _CompilerError: the compiler complains.
        PermissionError: others can write there.
    """
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # It is run: nobody else may have put it there.
    if _is_open_to_others(place.parent):
        raise PermissionError(f"{place.parent} can be written by others than its owner")
    for path in sorted(place.parent.glob(f"{place.name}-*.so")):
        # One that was cut short loads, and ends the process without a word when it is called.
        if not _is_open_to_others(path) and path == _named(place, path):
            return path
        path.unlink(missing_ok=True)
    sweep(place.parent)
    # Processes that build at once each rename a whole file.
    with temporary_folder(place) as folder, _told_of(place):
        part = folder / "step.so"
        _compile(part)
        part.chmod(0o700)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        path = _named(place, part)
        part.replace(path)
    return path


def _named(place: Path, content: Path) -> Path:
    """The name at a place of a library with this file's content."""
    digest = hashlib.sha256(content.read_bytes()).hexdigest()
    return place.with_name(f"{place.name}-{digest[:32]}.so")


def _is_open_to_others(path: Path) -> bool:
    status = path.stat()
    return status.st_uid != os.getuid() or bool(status.st_mode & 0o022)


@contextmanager
def _told_of(place: Path) -> Iterator[None]:
    """Say on the standard error what takes so long."""
    line = f"compiling the training step, once, into {place.parent}\n"
    teller = threading.Timer(SLOW_S, lambda: sys.stderr.write(line))
    teller.daemon = True
    teller.start()
    try:
        yield
    finally:
        teller.cancel()


def _compiler() -> list[str]:
    # CXX="" names none.
    return shlex.split(os.environ.get("CXX", "")) or ["c++"]


def _compile(path: Path) -> None:
    """Compile the library to a file.

    Raises:
        _CompilerError: what it complains of.
    """
    common = [*_compiler(), *FLAGS, "-fopenmp", "-fPIC", "-c"]
    # Without glibc's vector functions the compiler's own loops do.
    for extra in (["-DHAS_VECTOR_MATH"], []):
        jobs = [[*common, str(SOURCES / "memory.cpp")]]
        for dtype, real in _REALS.items():
            names = [f"-DREAL={real}", f"-DNAME(x)=x##_{DTYPES[dtype]}"]
            jobs.append([*common, *extra, *names, str(SOURCES / "step.cpp")])
        objects = [path.with_suffix(f".{number}.o") for number in range(len(jobs))]
        jobs = [[*job, "-o", str(part)] for job, part in zip(jobs, objects, strict=True)]
        with ThreadPoolExecutor() as pool:
            complaints = [said for said in pool.map(_run, jobs) if said]
        if not complaints:
            break
    if not complaints:
        libraries = Path(torch.__file__).parent / "lib"
        link = [*_compiler(), "-shared", "-fopenmp", *map(str, objects), f"-L{libraries}"]
        said = _run([*link, "-ltorch_cpu", "-Wl,--no-undefined", "-lm", "-o", str(path)])
        complaints = [said] * bool(said)
    if complaints:
        lines = complaints[0].strip().splitlines() or ["failed"]
        telling = [line for line in lines if "error" in line or "undefined" in line]
        raise _CompilerError(f"{common[0]}: {(telling or lines)[0]}")


def _run(command: list[str]) -> str:
    """Run a compiler; what it says where it fails."""
    run = subprocess.run(  # noqa: S603  the user's own compiler
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=COMPILE_TIMEOUT_S,
        env={**os.environ, "LC_ALL": "C"},
    )
    return "" if run.returncode == 0 else run.stderr or "failed"


def _place() -> Path:
    """Where this machine's libraries are kept, and how their names begin."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    parts = [source.read_text(encoding="utf-8") for source in sorted(SOURCES.iterdir())]
    parts += [torch.__version__, torch.__file__]
    parts += sorted({line for line in lines if line.startswith(_PROCESSOR)})
    parts += [platform.machine(), *_compiler()]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "torchmlp" / f"step-{name}"
