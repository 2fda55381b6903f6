"""The step in C++ reads and writes its own memory and no other: the compiler's sanitizers look."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -g"
RUNTIMES = ("libasan.so", "libubsan.so", "libstdc++.so")
# Each of the step's loops once, its threads, and all that a batch can be.
ENGINE = (
    "threads_share or native and (any_depth or one_feature or batch_sizes or batch_axes or "
    "zero_rows or anyhow or pixels or dropout or finite and nan or frozen and momentum or "
    "label and 1099511627776 and first or cleared)"
)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the step is compiled with the sanitizers."""
    folder = tmp_path_factory.mktemp("sanitized")
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    source, binary = folder / "empty.cpp", folder / "empty"
    source.write_text("int main() {}\n")
    try:
        build = [*compiler, *shlex.split(FLAGS), str(source), "-o", str(binary)]
        subprocess.run(build, check=True, capture_output=True)
        found = [
            subprocess.run(
                [*compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True
            ).stdout.strip()
            for name in RUNTIMES
        ]
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the compiler has no address and undefined-behaviour sanitizer")
    return {
        **os.environ,
        "CXX": f"{shlex.join(compiler)} {FLAGS}",
        "XDG_CACHE_HOME": str(folder),
        "LD_PRELOAD": " ".join(found),  # Python itself is not compiled with it
        "ASAN_OPTIONS": "detect_leaks=0",  # Python frees no module
        "PYTHONPATH": str(ROOT),
    }


def run(words: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


@pytest.mark.slow
def test_the_engines_tests_under_the_sanitizers(sanitized: dict[str, str]) -> None:
    """Depths, sizes, threads, pixels, masks and labels of the engine's own tests."""
    tests = str(Path(__file__).with_name("test_engine.py"))
    # Without the checks of annotations, which say nothing of memory.
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-k", ENGINE]
    said = run(["-m", "pytest", *options, tests], sanitized)
    assert " passed" in said
    assert list(Path(sanitized["XDG_CACHE_HOME"]).rglob("*.so")), "nothing was compiled"


@pytest.mark.slow
def test_changes_under_the_sanitizers(sanitized: dict[str, str]) -> None:
    """Two thousand changes of models, optimizers, batches and their memory, each followed by a
    step."""
    said = run(["-m", "tests.engine.fuzzer", "--changes", "2000", "--seed", "1"], sanitized)
    assert said.endswith(" 0 differs\n")
