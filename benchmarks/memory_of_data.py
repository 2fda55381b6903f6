"""How much memory does an epoch take that is streamed from files, beside one held in memory?

python benchmarks/memory_of_data.py

Goes through a shuffled epoch of 50, 150 and 500 MB of pixels: in memory (Batches), and from
uncompressed .npz shards, compressed ones and one raw IDX file (StreamingBatches). Each in a process
of its own, since a peak is for good: `peak_mib` is all of it, `import_mib` what Python and torch
took before the data. The files were written a moment ago, so `samples_per_s` is with the page
cache, not a disk, and counts the epoch only: not the time to load what is held in memory.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from runs import machine

from torchmlp.data import Batches, StreamingBatches, write_shards

RESULTS = Path(__file__).parent / "results" / "memory_of_data.csv"
WAYS = ["memory", "npz", "compressed npz", "raw IDX"]
PIXELS = 784
PER_SHARD = 10_000


def write(folder: Path, count: int) -> dict[str, list[str | list[str]]]:
    """The same samples in every way's files."""
    # Sixteen grey values: they can be compressed, by half.
    shard = np.random.default_rng(0).integers(0, 16, (PER_SHARD, PIXELS), dtype=np.uint8)
    labels = np.arange(count) % 10
    x, y = folder / "images", folder / "labels"
    npz: list[str | list[str]] = []
    compressed: list[str | list[str]] = []
    with x.open("wb") as file:
        file.write(b"\0\0\x08\x02" + np.array([count, PIXELS], ">u4").tobytes())
        for first in range(0, count, PER_SHARD):
            targets = labels[first : first + PER_SHARD]
            inputs = shard[: len(targets)]
            file.write(inputs.tobytes())
            npz += map(str, write_shards(inputs, targets, folder / f"{first}", PER_SHARD))
            compressed.append(str(folder / f"{first}.npz"))
            np.savez_compressed(folder / f"{first}", inputs=inputs, targets=targets)
    header = b"\0\0\x08\x01" + np.array([count], ">u4").tobytes()
    y.write_bytes(header + labels.astype(np.uint8).tobytes())
    return {"memory": npz, "npz": npz, "compressed npz": compressed, "raw IDX": [[str(x), str(y)]]}


def peak_mib() -> float:
    """Most memory that this process has had resident."""
    # Not getrusage's ru_maxrss: a process begins with that of the one that started it.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def epoch(way: str, shards: list[str | list[str]], batch_size: int) -> dict[str, float]:
    """What one epoch takes; to be called once in a process."""
    torch.set_num_threads(1)
    imported = peak_mib()
    batches: Batches | StreamingBatches
    if way == "memory":
        loaded = StreamingBatches(shards, PER_SHARD)
        count = sum(len(targets) for _, targets in loaded)
        inputs = torch.empty(count, PIXELS, dtype=torch.uint8)
        labels = torch.empty(count, dtype=torch.int64)
        # Filled, not joined: that would take the memory twice.
        for k, (x, y) in enumerate(loaded):
            rows = slice(k * PER_SHARD, (k + 1) * PER_SHARD)
            inputs[rows], labels[rows] = x, y
        batches = Batches(inputs, labels, batch_size, shuffle=True)
    else:
        batches = StreamingBatches(shards, batch_size, shuffle=True)
    seen = torch.zeros(10, dtype=torch.int64)
    start = time.perf_counter()
    for _, targets in batches:
        seen += targets.bincount(minlength=10)
    seconds = time.perf_counter() - start
    samples = int(seen.sum())
    assert seen.tolist() == [len(range(k, samples, 10)) for k in range(10)]
    return {
        "import_mib": round(imported),
        "peak_mib": round(peak_mib()),
        "samples_per_s": round(samples / seconds),
        "samples": samples,
    }


def main() -> None:
    """Measure every size and way, and add the rows to the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smallest_mb", type=int, default=50)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(epoch(options.one[0], json.loads(options.one[1]), options.batch_size)))
        return
    for times in (1, 3, 10):
        count = times * options.smallest_mb * 1_000_000 // PIXELS
        with tempfile.TemporaryDirectory() as folder:
            shards = write(Path(folder), count)
            for way in WAYS:
                words = [sys.executable, __file__, "--batch_size", str(options.batch_size)]
                words += ["--one", way, json.dumps(shards[way])]
                run = subprocess.run(words, check=True, capture_output=True, text=True)
                result = json.loads(run.stdout)
                assert result.pop("samples") == count
                row = {
                    "way": way,
                    "data_mb": times * options.smallest_mb,
                    "samples": count,
                    "batch_size": options.batch_size,
                    **result,
                    **machine(),
                }
                append(row)
                print(*list(row.values())[:7], sep="\t", flush=True)


def append(row: dict[str, object]) -> None:
    """Add a row to the table, with its header where the table is new."""
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
