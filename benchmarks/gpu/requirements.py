"""Say what of the needed packages is installed, and install the rest into a folder.

python benchmarks/gpu/requirements.py FOLDER

From the folder of wheels that WHEELS names, else from an index, for so long as that answers. Their
requirements are left out: torch must not be replaced by another build. It imports no torch.
"""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NEEDED = ("torch", "torchvision", "numpy")
# By distribution; what each of them serves.
SERVES = {
    "jaxtyping": "everything",
    "wadler-lindig": "everything",
    "filelock": "everything",
    "pytest": "tests",
    "hypothesis": "tests",
    "beartype": "tests",
    "pytorch-lightning": "epoch, accuracy",
    "lightning-utilities": "epoch, accuracy",
    "torchmetrics": "epoch, accuracy",
    "jsonargparse": "epoch, accuracy",
    "docstring-parser": "epoch, accuracy",
    "typeshed-client": "epoch, accuracy",
    "rich": "epoch, accuracy",
    "tensorboard": "epoch, accuracy",
    "triton": "Triton's kernels, torch.compile",
}
SECONDS = 45


def installed(name: str) -> str:
    """Its version, or ""."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def install(names: list[str], folder: Path) -> None:
    """Try to; what does not come in time is left out."""
    wheels = os.environ.get("WHEELS")
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    words += ["--disable-pip-version-check", "--target", str(folder)]
    words += ["--no-index", "--find-links", wheels] if wheels else ["--retries=0", "--timeout=5"]
    try:
        subprocess.run([*words, *names], check=True, timeout=SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"  {', '.join(names)}: not to be had ({type(error).__name__})")


def main() -> None:
    """Look, install, look again.

    Raises:
        SystemExit: torch itself is missing.
    """
    folder = Path(sys.argv[1])
    print(f"Python {sys.version.split()[0]}, {sys.executable}")
    print(" ", ", ".join(f"{name} {installed(name) or 'MISSING'}" for name in (*NEEDED, *SERVES)))
    if lost := [name for name in NEEDED if not installed(name)]:
        raise SystemExit(
            f"expected {', '.join(lost)} to be installed: set PYTHON to a Python that has them, or "
            f"install the build of torch for this machine's driver"
        )
    missing = [name for name in SERVES if not installed(name)]
    if missing:
        print(f"installing {', '.join(missing)}")
        # Wheels one by one: of a list, one that is missing keeps all the others away.
        for names in [[name] for name in missing] if os.environ.get("WHEELS") else [missing]:
            install(names, folder)
        sys.path.insert(0, str(folder))
    for name in missing:
        if not installed(name):
            print(f"MISSING {name}, left out with it: {SERVES[name]}")


if __name__ == "__main__":
    main()
