"""How much memory does a training step take beyond the model and the batch?

python benchmarks/memory.py
python benchmarks/memory.py --networks 784-128-10 --batches 128

The peak over a provider's first two steps, its buffers included, in a process of its own:
`allocated_mib` is what torch's allocator gave out, summed from the profiler's records; and
`resident_mib` what the process grew by in memory that is really there (VmHWM), after a step of a
small network that loads and starts what is needed once. The second also has the BLAS's own
buffers and what the heap holds back; where blocks are freed in between it differs by a third from
run to run, and below some 10 MiB it says little. Beside them the arithmetic: every layer's
activation and delta, B x fan_out each, and the gradients, which an engine's step does not store.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from problem import Problem
from runs import machine
from timing import write
from torch.profiler import ProfilerActivity, profile
from torch_steps import STEPS, Step

TABLE = Path(__file__).parent / "results" / "memory.csv"
PROVIDERS = ["engine (C++)", "engine (torch)", "nn.Sequential + SGD", "nn.Sequential + fused SGD"]
NETWORKS = ["784-128-10", "784-64x8-10", "784-1000-1000-10", "784-2048-2048-10"]
BATCHES = [128, 4096]
KEY = ("network", "batch", "provider")
MIB = 2**20


@dataclass(frozen=True)
class Row:
    """A provider's peak; `ratio` is of what was allocated, to activations and deltas."""

    network: str
    batch: int
    provider: str
    allocated_mib: float
    resident_mib: float
    activations_mib: float
    deltas_mib: float
    gradients_mib: float
    ratio: float
    threads: int
    device: str
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def allocated(step: Step) -> int:
    """Most bytes of torch's allocator that are in use at once during two steps."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step.take()
        step.take()
    assert profiled.profiler is not None
    assert profiled.profiler.kineto_results is not None
    events = profiled.profiler.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]"]
    total = most = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        total += change.nbytes()
        most = max(most, total)
    return most


def resident(step: Step) -> int:
    """Bytes that the process grows by, at most, during two steps."""
    # The peak until now is that of the imports. Not ru_maxrss: it cannot be forgotten, and begins
    # with that of the process that started this one.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = _status("VmRSS")
    step.take()
    step.take()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(text.partition(f"{name}:")[2].split()[0]) * 1024


def measure(provider: str, problem: Problem) -> Row:
    """One row; to be called once in a process."""
    small = STEPS["sgd"][provider](Problem("784-16-10", 8))
    small.take()
    small.take()
    resident_bytes = resident(STEPS["sgd"][provider](problem))
    allocated_bytes = allocated(STEPS["sgd"][provider](problem))
    layer_bytes = 4 * problem.batch * sum(problem.sizes[1:])
    return Row(
        network=problem.network,
        batch=problem.batch,
        provider=provider,
        allocated_mib=round(allocated_bytes / MIB, 3),
        resident_mib=round(resident_bytes / MIB, 1),
        activations_mib=round(layer_bytes / MIB, 3),
        deltas_mib=round(layer_bytes / MIB, 3),
        gradients_mib=round(sum(array.nbytes for array in problem.start) / MIB, 3),
        ratio=round(allocated_bytes / (2 * layer_bytes), 3),
        threads=torch.get_num_threads(),
        device="cpu",
        **machine(),
    )


def main() -> None:
    """Measure every network, batch and provider, print a table, write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="784-128-10")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--providers", nargs="+", choices=PROVIDERS, default=PROVIDERS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", type=Path, default=TABLE, help="the CSV file")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        torch.set_num_threads(options.threads)
        row = measure(options.providers[0], Problem(options.networks[0], options.batches[0]))
        print(json.dumps(vars(row)))
        return
    print(f"{'MiB':<28}{'allocated':>10}{'resident':>10}{'a + δ':>10}{'gradients':>10}{'ratio':>8}")
    for network in options.networks:
        for batch in options.batches:
            print(f"{network}, B = {batch}")
            for provider in options.providers:
                words = [sys.executable, __file__, "--one", "--networks", network]
                words += ["--batches", str(batch), "--providers", provider]
                words += ["--threads", str(options.threads)]
                run = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
                row = Row(**json.loads(run.stdout.splitlines()[-1]))
                write(options.table, [row], KEY)
                print(
                    f"  {provider:<26}{row.allocated_mib:>10.2f}{row.resident_mib:>10.1f}"
                    f"{row.activations_mib + row.deltas_mib:>10.2f}"
                    f"{row.gradients_mib:>10.2f}{row.ratio:>8.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
