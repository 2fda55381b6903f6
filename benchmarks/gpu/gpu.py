"""Every figure of a GPU in one call, of at most six minutes: see `benchmarks/gpu.sh`.

    tests        those that need a GPU
    weights      the engine's beside the CPU's, after so many steps
    step         the step as a CUDA graph against nn.Sequential and fused optimizers
    population   many networks as one
    epoch        of train.py fit, bf16-mixed and float32
    accuracy     seconds of training to 98 % of MNIST's test images
    compiled     the step against torch.compile(mode="max-autotune"), which takes long to compile

Each part has a process of its own, so that none can take the others along, and seconds of its own;
what a part does not use the later ones may. Its rows are written as they come. In the end the rows
that README takes are printed, and written beside the tables as gpu.md.

--rehearse does all of it on a CPU in small: graphs are plain calls, events a clock, tables go to a
folder of their own.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
WHOLE_S = 345.0
# At most so many seconds each, the first process's imports included.
PARTS = {
    "tests": 50,
    "weights": 35,
    "step": 75,
    "population": 25,
    "epoch": 45,
    "accuracy": 50,
    "compiled": 120,
}
REHEARSED_S = 170.0  # where others compute too; by itself it takes a minute
REHEARSED_PART_S = 45
SPARE_S = 3.0  # from being told to end until it has ended


def words_of(part: str) -> list[str]:
    """The command of a part."""
    scripts = {
        "weights": ["gpu_weights.py"],
        "step": ["gpu_steps.py"],
        "population": ["gpu_population.py"],
        "epoch": ["gpu_fits.py", "epoch"],
        "accuracy": ["gpu_fits.py", "accuracy"],
        "compiled": ["gpu_steps.py", "compiled"],
    }
    if part in scripts:
        script, *rest = scripts[part]
        return [sys.executable, str(HERE / script), *rest]
    words = [sys.executable, "-m", "pytest", "--quiet", "-rs", "-m", "gpu", *gpu_tests()]
    has_all = find_spec("beartype") and find_spec("xdist")  # which pyproject.toml asks for
    words += [] if has_all else ["--override-ini", "addopts=--strict-markers"]
    # What Triton compiles for each test takes a second; of 16 cores some are free for it.
    return words + (["-n", "8"] if has_all and not is_rehearsed() else [])


def is_rehearsed() -> bool:
    """Whether this is a rehearsal, as its parts are told."""
    return os.environ.get("GPU_REHEARSAL") == "1"


def gpu_tests() -> list[str]:
    """The files with tests that take the fixture `gpu`: to collect all others takes a minute."""
    takes_it = re.compile(r"^def test_.*\n?.*\bgpu: torch\.device", re.MULTILINE)
    paths = (ROOT / "tests").rglob("test_*.py")
    found = [path for path in paths if takes_it.search(path.read_text("utf-8"))]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def run(part: str, seconds: float) -> str:
    """Run a part, and end it where it does not end in time; what became of it."""
    environment = {**os.environ, "GPU_SECONDS": str(max(seconds - 2 * SPARE_S, 1))}
    if is_rehearsed() and part == "tests":
        environment["TRITON_INTERPRET"] = "1"  # the kernels' tests run on a CPU
    process = subprocess.Popen(words_of(part), cwd=ROOT, env=environment, start_new_session=True)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"ended after {seconds:.0f} s; what it had measured is kept"
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return "done" if code == 0 else f"exit code {code}"


def look() -> None:
    """Say what there is.

    Raises:
        SystemExit: no GPU.
    """
    script = (
        "import torch; c = torch.cuda; "
        "print('torch', torch.__version__, 'CUDA', torch.version.cuda, "
        "*(c.get_device_name(k) for k in range(c.device_count())), sep=', ') "
        "if c.is_available() else exit(3)"
    )
    if subprocess.run([sys.executable, "-c", script], check=False).returncode:
        raise SystemExit(
            "expected a CUDA device, and torch sees none: install a build of torch for this "
            "machine's driver, or try it out with --rehearse"
        )


def main() -> None:
    """Every part that was asked for, then the Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, in small")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    begun = float(os.environ.get("STARTED", time.time()))
    whole, limits = WHOLE_S, dict(PARTS)
    if options.rehearse:
        whole, limits = REHEARSED_S, dict.fromkeys(PARTS, REHEARSED_PART_S)
        os.environ.update(GPU_REHEARSAL="1", TORCHMLP_NATIVE="0")
        os.environ.setdefault("OUT", tempfile.mkdtemp(prefix="gpu_rehearsal_"))
    else:
        look()
    outcomes = {}
    for part in options.parts:
        left = begun + whole - time.time() - SPARE_S
        print(f"\n{part} ({left:.0f} s left of {whole:.0f})", flush=True)
        if left < 2 * SPARE_S:
            outcomes[part] = "no time left"
            continue
        start = time.time()
        outcome = run(part, min(limits[part], left))
        outcomes[part] = f"{outcome}, {time.time() - start:.0f} s"
    import gpu_rows  # noqa: PLC0415  which reads OUT

    text = gpu_rows.markdown()
    (gpu_rows.FOLDER / "gpu.md").write_text(f"{text}\n", encoding="utf-8")
    print(f"\n{text}\n")
    for part, outcome in outcomes.items():
        print(f"{part:<12}{outcome}")
    print(f"tables in {gpu_rows.FOLDER}; {time.time() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
