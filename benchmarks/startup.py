"""How long does it take from Enter to the first training step, beside the imports alone?

python benchmarks/startup.py                       the digits that ship
python benchmarks/startup.py --data_root data      full MNIST as well

Every figure is of a process of its own; the processes take turns, and each is divided by its
reference in the same turn. Imports and first steps end with `os._exit`, so that Python's clearing
up, which takes as long as a third of the imports, counts on neither side; help, usage errors and
`verify` are timed to their end, a run's first word to its first byte.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from runs import ROOT, machine

RESULTS = Path(__file__).parent / "results" / "startup.csv"
LIGHTNING = "import torch\nfrom torchmlp._compat.lightning import pl"
SUBMISSIONS = ROOT / "benchmarks" / "styles" / "development"  # right, a function and a class
FIRST_WORD = "first word, embedded"
STEP = ["--trainer.callbacks", "first_step.FirstStep"]


def commands(data_root: str | None) -> dict[str, tuple[list[str], str]]:
    """What is timed, by name: the words after `python`, and the name of its reference."""

    def imports(code: str) -> list[str]:
        return ["-c", f"{code}\nimport os\nos._exit(0)"]

    def verify(file: str) -> list[str]:
        return [train, "verify", str(SUBMISSIONS / file)]

    train = str(ROOT / "train.py")
    found = {
        "python": (imports("pass"), "python"),
        "import torch": (imports("import torch"), "import torch"),
        "import torchmlp": (imports("import torchmlp"), "import torch"),
        "import MLP": (imports("from torchmlp import MLP"), "import torch"),
        "import torch, lightning": (imports(LIGHTNING), "import torch, lightning"),
        "help": ([train, "--help"], "import torch"),
        "help of fit": ([train, "fit", "--help"], "import torch"),
        "verify, a function": (verify("rows_dict_loss_grads.py"), "import torch"),
        "verify, a class": (verify("class_grads_dict.py"), "import torch"),
        "error: unknown option": ([train, "--trainer.max_epoch", "3"], "import torch"),
        "error: wrong type": ([train, "--max_epochs", "abc"], "import torch"),
        "error: activation": ([train, "--activation", "rellu"], "import torch"),
        "error: the parser's": ([train, "--precision", "17"], "import torch, lightning"),
        FIRST_WORD: ([train, "--data.source", "embedded"], "import torch, lightning"),
        "first step, embedded": (
            [train, "--data.source", "embedded", *STEP],
            "import torch, lightning",
        ),
    }
    if data_root:
        root = str(Path(data_root).resolve())
        words = [train, "--data.source", "full", "--data_root", root, *STEP]
        found["first step, full MNIST"] = (words, "import torch, lightning")
    return found


def measure(words: list[str], folder: str, *, to_first_word: bool = False) -> tuple[float, float]:
    """Wall and processor seconds of `python` with these words.

    Args:
        words: its arguments.
        folder: where it runs.
        to_first_word: end it once it has said something.

    Raises:
        RuntimeError: it ended with another code than 0 and 2.
    """
    # Set as train.py sets it, for the imports alone too.
    paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_WAIT_POLICY": "PASSIVE"}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE if to_first_word else subprocess.DEVNULL,
        stderr=subprocess.STDOUT if to_first_word else subprocess.DEVNULL,
    )
    if process.stdout:
        process.stdout.read(1)
        process.kill()
        process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
    if process.returncode not in (0, 2) and not to_first_word:
        raise RuntimeError(f"{words} ended with {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Time every command, print a table, and add its rows to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    chosen = commands(options.data_root)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as folder:
        for words, _ in chosen.values():  # once for nothing: the disk's cache is warm afterwards
            measure(words, folder)
        for _ in range(options.repeats):
            for name, (words, _) in chosen.items():
                found = measure(words, folder, to_first_word=name == FIRST_WORD)
                seconds[name].append(found)
    print(f"{'':<26}{'wall s':>8}{'CPU s':>8}{'ratio':>8}{'quartiles':>14}  of the wall time of")
    for name, (_, reference) in chosen.items():
        pairs = zip(seconds[name], seconds[reference], strict=True)
        ratios = [own[0] / other[0] for own, other in pairs]
        low, _, high = quantiles(ratios, n=4)
        row = {
            "name": name,
            "wall_s": round(median(wall for wall, _ in seconds[name]), 3),
            "cpu_s": round(median(cpu for _, cpu in seconds[name]), 3),
            "reference": reference,
            "ratio": round(median(ratios), 3),
            "ratio_p25": round(low, 3),
            "ratio_p75": round(high, 3),
            "repeats": options.repeats,
            **machine(),
        }
        append(row)
        print(
            f"{name:<26}{row['wall_s']:>8}{row['cpu_s']:>8}{row['ratio']:>8}"
            f"{f'{low:.2f}..{high:.2f}':>14}  {reference}"
        )


def append(row: dict[str, object]) -> None:
    """Add a row to the results, with the header where the table is new."""
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
