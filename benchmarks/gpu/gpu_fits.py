"""What `train.py fit` takes on the device.

    python benchmarks/gpu/gpu_fits.py epoch         seconds of an epoch, by precision and engine
    python benchmarks/gpu/gpu_fits.py accuracy      seconds of training to 98 % of the test images

On full MNIST where its files are found (TORCHMLP_MNIST, data, or the packed files in shared/mnist
here or beside the checkout), else on the digits that ship, as the rows say.
"""

import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import gpu_rows
from on_device import IS_REHEARSAL, Clock, name
from runs import ROOT, machine, train

ACCELERATOR = "cpu" if IS_REHEARSAL else "gpu"
EPOCHS = 2 if IS_REHEARSAL else 4
STARTS_S = 8 if IS_REHEARSAL else 12  # a process that trains, imports and all
WAYS = {
    "engine, bf16-mixed": ["--precision", "bf16-mixed"],
    "autograd, bf16-mixed": ["--precision", "bf16-mixed", "--model.engine", "autograd"],
    "engine, 32-true": ["--precision", "32-true"],
}
RECIPES = {
    "mnist_fast, bf16-mixed": ["--config", "configs/mnist_fast.yaml", "--precision", "bf16-mixed"],
    "mnist_fast, 32-true": ["--config", "configs/mnist_fast.yaml", "--precision", "32-true"],
}
if IS_REHEARSAL:
    WAYS, RECIPES = dict([*WAYS.items()][:1]), dict([*RECIPES.items()][:1])


@dataclass(frozen=True)
class Epoch:
    """Seconds of an epoch after the first, in which everything warms up, validation included."""

    way: str
    network: str
    batch: int
    epoch_s: float
    ms_per_step: float
    steps: int
    data: str
    device: str
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


@dataclass(frozen=True)
class Accuracy:
    """Runs of a recipe, in the order of their seeds: what they reached, and the seconds."""

    recipe: str
    test_accuracies: str
    seconds: str
    seconds_median: float
    reached_98: str
    data: str
    device: str
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def data_flags(folder: Path) -> tuple[list[str], str]:
    """The flags that name the data, and the data in words."""
    embedded = (
        ["--data.source", "embedded", "--data.val_size", "500"],
        "embedded digits, 6000 of MNIST",
    )
    if IS_REHEARSAL:
        return embedded
    roots = [Path(os.environ.get("TORCHMLP_MNIST", ROOT / "data")), ROOT / "data"]
    for root in roots:
        if (root / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
            return ["--data_root", str(root)], "full MNIST"
    for packed in (ROOT / "shared" / "mnist", ROOT.parent / "shared" / "mnist"):
        files = sorted(packed.glob("*-ubyte.gz"))
        if len(files) == 4:  # noqa: PLR2004  images and labels of both parts
            raw = folder / "MNIST" / "raw"
            raw.mkdir(parents=True)
            for path in files:
                (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
            return ["--data_root", str(folder)], "full MNIST"
    return embedded


def epochs(clock: Clock, flags: list[str], data: str) -> None:
    """The epochs of each way."""
    width, size = (16, 128) if IS_REHEARSAL else (256, 128)
    for way, words in WAYS.items():
        if clock.left() < STARTS_S:
            print("  out of time")
            return
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "train.py", "fit", *flags, "--accelerator", ACCELERATOR]
            command += [*words, "--hidden", str(width), "--batch_size", str(size)]
            command += ["--max_epochs", str(EPOCHS), "--trainer.default_root_dir", folder]
            command += ["--model.dropout", "0", "--model.input_dropout", "0"]
            command += ["--data.max_shift", "0", "--trainer.callbacks", "clocks.EpochClock"]
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        found = [json.loads(line) for line in re.findall(r"EPOCH (\{.*?\})", run.stdout)][1:]
        if run.returncode or not found:
            print(f"  {way}: exit code {run.returncode}: {run.stderr.strip()[-400:]}")
            continue
        seconds, steps = median([epoch["wall_s"] for epoch in found]), int(found[0]["steps"])
        row = Epoch(
            way=way,
            network=f"784-{width}-10",
            batch=size,
            epoch_s=round(seconds, 4),
            ms_per_step=round(1e3 * seconds / steps, 4),
            steps=steps,
            data=data,
            device=name(),
            **machine(),
        )
        gpu_rows.keep("epoch", [row], ("way", "network", "batch"))


def accuracies(clock: Clock, flags: list[str], data: str) -> None:
    """Each recipe, two seeds, or as many as there is time for."""
    for recipe, words in RECIPES.items():
        found = []
        for seed in range(1 if IS_REHEARSAL else 2):
            if clock.left() < STARTS_S:
                print("  out of time")
                break
            run_flags = [*words, *flags, "--accelerator", ACCELERATOR, "--seed", str(seed)]
            run_flags += ["--max_epochs", "1"] if IS_REHEARSAL else []
            try:
                found.append(train(recipe, run_flags, seed))
            except subprocess.CalledProcessError as error:
                print(f"  {recipe}: exit code {error.returncode}")
        if not found:
            continue
        row = Accuracy(
            recipe=recipe,
            test_accuracies=" ".join(f"{run.test_accuracy:.4f}" for run in found),
            seconds=" ".join(f"{run.training_s:.2f}" for run in found),
            seconds_median=round(median(run.training_s for run in found), 2),
            reached_98=f"{sum(run.test_accuracy >= 0.98 for run in found)} of {len(found)}",  # noqa: PLR2004  its name says it
            data=data,
            device=name(),
            **machine(),
        )
        gpu_rows.keep("accuracy", [row], ("recipe",))


def main() -> None:
    """Measure, as long as there is time."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        flags, data = data_flags(Path(folder))
        print(f"  {data}")
        measure = {"epoch": epochs, "accuracy": accuracies}[sys.argv[1]]
        measure(clock, flags, data)


if __name__ == "__main__":
    main()
